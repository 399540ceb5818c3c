"""The wire format: what is cut out comes back, whatever the fields around it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from coregraft.rewriter.errors import InputError
from coregraft.rewriter.onnx_io import wire
from coregraft.rewriter.onnx_io.load import load
from coregraft.rewriter.types import Const

WEIGHT = np.random.default_rng(0).integers(0, 256, 1 << 20, np.uint8)


def heavy_model(nodes: int = 1) -> onnx.ModelProto:
    """More than 1 MB in an initializer, in a Constant node and in a body."""
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(WEIGHT[:5000], "c value"))
    body = helper.make_graph([], "body", [], [helper.make_tensor_value_info("b", 2, [9000])])
    body.initializer.append(numpy_helper.from_array(WEIGHT[:9000], "b"))
    branch = helper.make_node("If", ["x"], ["y"], then_branch=body, else_branch=body)
    rest = [helper.make_node("Neg", ["y"], [f"n{i}"]) for i in range(nodes)]
    model = helper.make_model(helper.make_graph([constant, branch, *rest], "g", [], [], []))
    model.graph.initializer.append(numpy_helper.from_array(WEIGHT, "w"))
    model.graph.initializer[0].doc_string = "after the data"
    model.graph.initializer.append(numpy_helper.from_array(WEIGHT[:10], "small"))
    return model


def tensors_of(graph: onnx.GraphProto) -> list[TensorProto]:
    found = list(graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            found += [attribute.t] if attribute.HasField("t") else tensors_of(attribute.g)
    return found


def test_large_data_is_cut_wherever_it_is_and_the_rest_is_kept() -> None:
    model = heavy_model()
    data = memoryview(model.SerializeToString())
    found = wire.cut_weights(data)
    assert found is not None
    structure, cuts = found
    assert len(structure) < 3000
    slim = onnx.ModelProto.FromString(structure)
    assert len(cuts) == 4
    for tensor in tensors_of(slim.graph):
        if tensor.HasField("segment"):
            assert (tensor.segment.begin, tensor.segment.end) in cuts
            tensor.raw_data = bytes(data[tensor.segment.begin : tensor.segment.end])
            tensor.ClearField("segment")
    assert slim == model


def test_a_model_of_many_fields_and_little_weight_is_left_alone() -> None:
    data = memoryview(heavy_model(nodes=2000).SerializeToString())
    assert wire.cut_weights(data) is None
    assert wire.cut_weights(memoryview(b"")) is None


@given(
    st.lists(st.sampled_from(["typed", "weight", "doc", "empty"]), max_size=6),
    st.integers(0, 3),
)
def test_splicing_equals_serializing(kinds: list[str], documented: int) -> None:
    whole, structure = onnx.ModelProto(ir_version=8), onnx.ModelProto(ir_version=8)
    content: list[Const] = []
    for i, kind in enumerate(kinds):
        for model in (whole, structure):
            tensor = model.graph.initializer.add(name=f"w{i}", dims=[i + 1], data_type=TensorProto.UINT8)
            if kind == "typed":
                tensor.int32_data.extend(range(i + 1))
            elif kind == "doc" or i < documented:
                tensor.doc_string = "d" * 200
        const = Const.of(WEIGHT[: i + 1])
        if kind == "weight":
            whole.graph.initializer[i].raw_data = bytes(const.raw())
            segment = structure.graph.initializer[i].segment
            segment.begin = segment.end = len(content)
            content.append(const)
    for model in (whole, structure):
        model.graph.doc_string = "after"
        model.metadata_props.add(key="k", value="v")
    pieces = wire.splice_weights(structure.SerializeToString(deterministic=True), content)
    joined = b"".join(bytes(p.raw() if isinstance(p, Const) else p) for p in pieces)
    assert joined == whole.SerializeToString(deterministic=True)
    assert sum(p.nbytes for p in pieces) == len(joined)


@pytest.mark.parametrize("end", [10, 1000, 6000, 500_000, -1])
def test_a_truncated_heavy_model(end: int) -> None:
    data = memoryview(heavy_model().SerializeToString())[:end]
    with pytest.raises(InputError, match="model-truncated"):
        wire.check_model(data, "m")


def test_lengths_that_lie_do_not_reach_outside_their_message() -> None:
    data = bytearray(heavy_model().SerializeToString())
    at = data.rindex(WEIGHT.tobytes()) - 3  # the length of raw_data, three bytes of varint
    data[at : at + 3] = b"\xff\xff\xff"
    with pytest.raises(InputError, match="model-truncated"):
        load(bytes(data))


def test_an_endless_varint_is_truncation() -> None:
    with pytest.raises(InputError, match="model-truncated"):
        wire.check_model(memoryview(b"\x08" + b"\xff" * 30), "m")


def test_mapping_a_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"content")
    view = wire.map_file(path)
    path.unlink()
    assert bytes(view) == b"content" and view.readonly
