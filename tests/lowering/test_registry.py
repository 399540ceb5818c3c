"""The table of lowerings: what goes in, what is refused, and which of several is taken."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coregraft.lowering import registry, targets
from coregraft.rewriter.errors import UsageError
from coregraft.rewriter.graph import Op
from coregraft.rewriter.registry import Plugin, temporarily

DOMAIN = "test.registry"


def emit_a(b: object, op: Op) -> None: ...


def emit_b(b: object, op: Op) -> None: ...


@pytest.fixture(autouse=True)
def clean_table() -> Iterator[None]:
    yield
    for key in [k for k in registry._TABLE if k[0] == DOMAIN]:
        for lowering in list(registry._TABLE[key]):
            registry.unregister(lowering)


def test_a_duplicate_names_both_owners() -> None:
    registry.register_lowering("Foo", emit_a, domain=DOMAIN, owner="first")
    with pytest.raises(UsageError, match="first and second") as error:
        registry.register_lowering("Foo", emit_b, domain=DOMAIN, owner="second")
    assert error.value.code == "lowering-duplicate"


def test_same_op_for_other_formats_is_no_duplicate() -> None:
    registry.lower("Foo", domain=DOMAIN, formats=("mlprogram",))(emit_a)
    registry.lower("Foo", domain=DOMAIN, formats=("neuralnetwork",))(emit_b)
    assert registry.table_for("iOS17", "mlprogram")[DOMAIN, "Foo"].emit is emit_a
    assert registry.table_for("iOS17", "neuralnetwork")[DOMAIN, "Foo"].emit is emit_b


@pytest.mark.parametrize(
    ("target", "expected"), [("iOS15", emit_a), ("iOS17", emit_a), ("iOS18", emit_b), ("iOS26", emit_b)]
)
def test_the_newest_that_the_target_allows_is_taken(target: str, expected: object) -> None:
    registry.lower("Foo", domain=DOMAIN)(emit_a)
    registry.lower("Foo", domain=DOMAIN, since="iOS18")(emit_b)
    assert registry.table_for(target, "mlprogram")[DOMAIN, "Foo"].emit is expected


def test_newer_lowerings_do_not_reach_a_neuralnetwork() -> None:
    registry.lower("Foo", domain=DOMAIN, since="iOS16")(emit_a)
    assert (DOMAIN, "Foo") not in registry.table_for("iOS26", "neuralnetwork")
    assert (DOMAIN, "Foo") not in registry.table_for("iOS15", "mlprogram")


@pytest.mark.parametrize(
    ("options", "code"), [({"since": "iOS12"}, "target-unknown"), ({"formats": ("onnx",)}, "format-unknown")]
)
def test_unknown_target_or_format(options: dict[str, object], code: str) -> None:
    with pytest.raises(UsageError) as error:
        registry.register_lowering("Foo", emit_a, domain=DOMAIN, **options)  # type: ignore[arg-type]
    assert error.value.code == code


def register_plugin() -> None:
    registry.register_lowering("FromPlugin", emit_a, domain=DOMAIN, attrs="alpha beta", owner="acme:ops")


def test_a_plugin_adds_lowerings() -> None:
    assert not targets.get("iOS17").supports(Op("FromPlugin", domain=DOMAIN))
    plugin = Plugin("registrytest", lowerings={"ops": f"{__name__}:register_plugin"})
    sys.modules.setdefault(__name__, sys.modules[register_plugin.__module__])
    with temporarily(plugin):
        target = targets.get("iOS17")
    assert target.supports(Op("FromPlugin", domain=DOMAIN, attrs={"alpha": 1}))
    assert "gamma=2" in (target.why_not(Op("FromPlugin", domain=DOMAIN, attrs={"gamma": 2})) or "")


def test_every_emitter_module_is_found_and_registers() -> None:
    files = {path.stem for path in Path(registry.__file__).parent.glob("emit_*.py")}
    registry.load_all()
    owners = {x.owner.split(":")[0].rpartition(".")[2] for found in registry._TABLE.values() for x in found}
    assert files
    assert files <= owners


def test_the_table_costs_no_coremltools() -> None:
    code = "import sys; from coregraft.lowering import targets; targets.get(); print('coremltools' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
