"""Nothing is forgotten: every step of every op's definition is an adapter's, or was reviewed and found harmless."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from onnx import defs, helper

from coregraft.passes.opset import oldest, operands, semantics  # noqa: F401  # they register the adapters
from coregraft.passes.opset.compatible import compatible, widened
from coregraft.passes.opset.edit import ADAPTERS, WITHDRAWN, versions
from coregraft.rewriter.opset import OLDEST_OPSET

STEPS = [
    (op_type, before, after)
    for op_type, numbers in versions().items()
    for before, after in itertools.pairwise(numbers)
    if after > OLDEST_OPSET
]


def test_every_step_is_in_exactly_one_table() -> None:
    steps = {(op_type, after) for op_type, _, after in STEPS}
    assert steps - set(ADAPTERS) - compatible() == set()
    assert set(ADAPTERS) & compatible() == set()
    assert (set(ADAPTERS) | compatible()) - steps == set(), "steps that onnx does not have"


def test_the_table_ends_where_onnx_does() -> None:
    assert max(after for _, _, after in STEPS) <= defs.onnx_opset_version() == 28


@pytest.mark.parametrize(("op_type", "before", "after"), [s for s in STEPS if (s[0], s[2]) in compatible()],
                         ids=lambda v: str(v))  # fmt: skip
def test_a_compatible_step_is_compatible(op_type: str, before: int, after: int) -> None:
    """Operands, results and attributes go on as they were; what is new is optional and has a default."""
    old, new = (_schema(op_type, v) for v in (before, after))
    for name, attribute in old.attributes.items():
        assert name in new.attributes
        assert _default(new.attributes[name]) == _default(attribute), name
        assert attribute.required or not new.attributes[name].required, name
    added = [new.attributes[name] for name in new.attributes.keys() - old.attributes.keys()]
    assert not any(attribute.required for attribute in added)
    for formal_old, formal_new in ((old.inputs, new.inputs), (old.outputs, new.outputs)):
        kinds_old, kinds_new = ([p.option for p in formal] for formal in (formal_old, formal_new))
        assert all(a == b or b == _OPTIONAL for a, b in zip(kinds_old, kinds_new, strict=False))
        assert all(kind == _OPTIONAL for kind in kinds_new[len(kinds_old) :])
        assert len(kinds_new) >= len(kinds_old)
    if (op_type, after) in widened():
        assert not added
        assert len(new.inputs) == len(old.inputs)


@pytest.mark.parametrize(("op_type", "before", "after"), [s for s in STEPS if (s[0], s[2]) in compatible()],
                         ids=lambda v: str(v))  # fmt: skip
def test_a_compatible_step_takes_the_types_it_took(op_type: str, before: int, after: int) -> None:
    if (op_type, after) in {("ReduceLogSum", 28), ("ReduceLogSumExp", 28)}:
        pytest.skip("integers went away past the internal opset, which still has them")
    for a, b in zip(_schema(op_type, before).inputs, _schema(op_type, after).inputs, strict=False):
        assert set(a.types) <= set(b.types), a.name


_OPTIONAL = defs.OpSchema.FormalParameterOption.Optional


def _schema(op_type: str, version: int) -> Any:
    schema = defs.get_schema(op_type, version)
    assert schema.since_version == version
    return schema


def _default(attribute: Any) -> Any:
    proto = attribute.default_value
    return helper.get_attribute_value(proto) if proto.name else None


def test_withdrawn_ops_are_the_deprecated_ones() -> None:
    last = {op_type: numbers[-1] for op_type, numbers in versions().items()}
    deprecated = {op_type: v for op_type, v in last.items() if _schema(op_type, v).deprecated}
    assert deprecated == WITHDRAWN
