"""States of lifted packages: fed, read, written, and given back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coregraft.lowering.lift.lifter import Lifter, Session
from coregraft.lowering.lift.spec import Block, MilOp, Slot
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.types import DType, TensorType
from tests.lowering.lift.one_op import lift_program, mb, program_of, run_graph


def _program(build: Any, kind: Any = np.float16) -> Any:
    from coremltools.converters.mil.mil import types

    held = types.fp16 if kind is np.float16 else types.int32
    state = mb.state_tensor_placeholder(shape=(3,), dtype=held)
    blank = np.zeros(3, kind)
    return program_of(build, {"x": blank, "cache": blank}, "iOS18", cache=state)


def test_a_state_is_read_in_the_order_of_the_program() -> None:
    def build(x: Any, cache: Any) -> Any:
        before = mb.read_state(input=cache)
        total = mb.add(x=before, y=x)
        written = mb.coreml_update_state(state=cache, value=total)
        return mb.mul(x=written, y=before), mb.read_state(input=cache)

    graph = lift_program(_program(build), "iOS18")
    assert graph.inputs == ("x", "cache")
    found = list(run_graph(graph, {"x": np.full(3, 2, np.float32), "cache": np.full(3, 5, np.float32)}).values())
    assert list(graph.outputs)[-1] == "cache_after"
    for result, want in zip(found, (35, 7, 7), strict=True):
        np.testing.assert_array_equal(result, np.full(3, want, np.float32))


def test_a_state_that_is_written_twice_keeps_the_last_value() -> None:
    def build(x: Any, cache: Any) -> Any:
        mb.coreml_update_state(state=cache, value=mb.add(x=x, y=np.float16(1)))
        old = mb.read_state(input=cache)
        mb.coreml_update_state(state=cache, value=mb.mul(x=old, y=old))
        return old

    graph = lift_program(_program(build), "iOS18")
    old, after = run_graph(graph, {"x": np.full(3, 2, np.float32), "cache": np.zeros(3, np.float32)}).values()
    np.testing.assert_array_equal(old, np.full(3, 3))
    np.testing.assert_array_equal(after, np.full(3, 9))


def test_a_state_that_is_only_read_comes_out_as_it_went_in() -> None:
    graph = lift_program(_program(lambda x, cache: mb.add(x=x, y=mb.read_state(input=cache))), "iOS18")
    fed = np.array([1, 2, 3], np.float32)
    total, after = run_graph(graph, {"x": fed, "cache": fed}).values()
    np.testing.assert_array_equal(total, 2 * fed)
    np.testing.assert_array_equal(after, fed)


def test_fp16_states_are_rounded_where_they_enter() -> None:
    program = _program(lambda x, cache: mb.add(x=x, y=mb.read_state(input=cache)))
    graph = lift_program(program, "iOS18", fp16="simulate")
    total, _ = run_graph(graph, {"x": np.zeros(3, np.float32), "cache": np.full(3, 1.0001, np.float32)}).values()
    np.testing.assert_array_equal(total, np.ones(3))


def test_an_update_as_one_op() -> None:
    """As in the dialect of coremltools; what it saves is a write and a read."""
    kind = TensorType(DType.FLOAT, (3,))
    update = MilOp("coreml_update_state", "u", {"state": ("s",), "value": ("x",)}, (Slot("y", kind),))
    lifter = Lifter(Session("CoreML8"))
    inputs = (Slot("x", kind), Slot("s", kind, "state"))
    results = lifter.run(Block(inputs, (update,), ("y", "s")), [lifter.input("x", kind), lifter.input("s", kind)])
    lifter.graph.set_outputs({"y": results[0], "s_after": results[1]})
    lifter.graph.set_opsets({"": 24})
    fed = np.array([1, 2, 3], np.float32)
    found = run_graph(lifter.graph, {"x": fed, "s": np.zeros(3, np.float32)})
    np.testing.assert_array_equal(found["y"], fed)
    np.testing.assert_array_equal(found["s_after"], fed)


def test_a_state_written_in_a_branch_is_refused() -> None:
    def build(x: Any, cache: Any) -> Any:
        positive = mb.greater(x=mb.reduce_max(x=x), y=np.float16(0))
        old = mb.read_state(input=cache)
        return mb.cond(pred=positive, _true_fn=lambda: mb.coreml_update_state(state=cache, value=x),
                       _false_fn=lambda: mb.identity(x=old))  # fmt: skip

    with pytest.raises(UnsupportedError) as caught:
        lift_program(_program(build), "iOS18")
    assert caught.value.code == "lift-op-unsupported"
