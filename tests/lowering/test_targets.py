"""The table of deployment targets."""

from __future__ import annotations

import itertools

import pytest

from coregraft.lowering import targets
from coregraft.rewriter.errors import UsageError
from coregraft.rewriter.graph import Op
from coregraft.rewriter.target import FORMATS, ORDER, Target
from coregraft.rewriter.types import DType


@pytest.mark.parametrize(
    ("name", "format", "code"), [("iOS14", "mlprogram", "target-unknown"), ("iOS17", "coreml", "format-unknown")]
)
def test_unknown(name: str, format: str, code: str) -> None:
    with pytest.raises(UsageError) as error:
        targets.get(name, format)
    assert error.value.code == code
    assert error.value.hint


def test_every_target_is_there_in_both_formats() -> None:
    assert [(t.name, t.format) for t in targets.every()] == [(n, f) for f in FORMATS for n in ORDER]


@pytest.mark.parametrize("format", FORMATS)
def test_a_newer_target_has_all_ops_of_an_older_one(format: str) -> None:
    for older, newer in itertools.pairwise(ORDER):
        old, new = targets.get(older, format).ops, targets.get(newer, format).ops
        assert old is not None and new is not None
        assert old.keys() <= new.keys()


def test_fp16_crosses_the_border_from_ios16_on() -> None:
    has = {name: DType.FLOAT16 in targets.get(name).io_dtypes for name in ORDER}
    assert has == {"iOS15": False, "iOS16": True, "iOS17": True, "iOS18": True, "iOS26": True}
    assert not targets.get("iOS18", "neuralnetwork").has_fp16
    assert DType.FLOAT16 not in targets.get("iOS18", "neuralnetwork").io_dtypes


def test_why_not_names_the_op_or_the_attribute() -> None:
    target = Target("iOS17", "mlprogram", {("", "Conv"): frozenset({"strides"})})
    assert target.supports(Op("Conv", attrs={"strides": (2, 2)}))
    assert target.supports(Op("Conv", attrs={"group": 1, "auto_pad": "NOTSET"})), "defaults matter to nobody"
    assert target.why_not(Op("Conv", attrs={"group": 2})) == "attribute group=2 is not honoured for iOS17 mlprogram"
    assert target.why_not(Op("Gemm")) == "no lowering for iOS17 mlprogram"
    assert not target.supports(Op("Conv", domain="com.acme"))


def test_any_supports_everything() -> None:
    assert Target.any().supports(Op("Nothing", domain="nowhere", attrs={"x": 1}))


def test_targets_are_values() -> None:
    assert targets.get("iOS17") == targets.get("iOS17")
    assert len({targets.get("iOS17"), targets.get("iOS17"), targets.get("iOS18")}) == 2
