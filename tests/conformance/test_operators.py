"""``docs/operators.md`` is what the registries and the record say, and every operator of ONNX has a row with a road."""

from __future__ import annotations

from onnx import defs

from tests.conformance.operators import PAGE, page


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.conformance.operators"


def test_every_operator_has_a_road() -> None:
    rows = [line.split(" | ") for line in page().splitlines() if line.startswith("| ")]
    roads = {cells[0].removeprefix("| "): cells[1] for cells in rows}
    live = {s.name for s in defs.get_all_schemas() if s.domain == "" and not s.deprecated}
    assert len(live) == 201
    assert {name for name in live if not roads.get(name)} == set()
    assert {name for name in live if roads[name] == "constant operands only"} == set()
