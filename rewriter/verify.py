"""Structural invariants of a graph, checked: after every pass, and near every rewrite in checked mode."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from coregraft.rewriter.errors import GraphError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.legal import check_schema, check_types
from coregraft.rewriter.opset import INTERNAL_OPSET
from coregraft.rewriter.types import DType, TensorType, compatible


def verify(g: Graph, ops: Iterable[int] | None = None) -> None:
    """Check that a graph is sound: operand tuples and adjacency agree, every operand is defined, nothing is defined
    twice, no cycle, outputs exist, constants have the bytes of their type, captures are exactly what the bodies
    read from outside, and ops are what their schemas at the stamped opset allow (:mod:`~coregraft.rewriter.legal`).

    Args:
        ops: look only at these ops, their operands and results, and the ops next to them; cycles and the parts
            of the graph elsewhere are not looked at.

    Raises:
        GraphError: ``adjacency``, ``value-undefined``, ``value-redefined``, ``graph-cycle``, ``initializer-size``,
            ``initializer-type``, ``captures``, or what :mod:`~coregraft.rewriter.legal` finds; ``node`` says where.
    """
    opsets = {"": INTERNAL_OPSET, **g.opsets}  # without a stamp, ops of ai.onnx are of the form that passes give them
    _verify(g, opsets, frozenset(g.functions), frozenset(), None if ops is None else list(ops))
    if ops is None:
        for key, body in g.functions.items():
            if isinstance(body, Graph):
                _verify(body, body.opsets, frozenset(g.functions), frozenset(), None, ".".join(key[:2]))


def _verify(
    g: Graph,
    opsets: Mapping[str, int],
    functions: frozenset[tuple[str, str, str]],
    outer: frozenset[str],
    ops: list[int] | None,
    where: str | None = None,
) -> None:
    values: Iterable[str]
    if ops is None:
        chosen, values = [op_id for op_id, _ in g.ops()], g.values()
    else:
        chosen = _neighbourhood(g, ops)
        values = sorted({v for op_id in chosen for v in (*g.op(op_id).operands, *g.op(op_id).outputs) if v})
    for op_id in chosen:
        _check_op(g, op_id, opsets, functions)
    inputs = frozenset(g.graph.get("inputs", ()))
    outputs = frozenset(g.outputs.values())
    for value in sorted((inputs | outputs) - g._node.keys()):
        raise GraphError("value-undefined", f'the input or output "{value}" is not in the graph', node=where or value)
    for value in values:
        _check_value(g, value, inputs, outputs, outer)
    if ops is None:
        g.topological()


def _neighbourhood(g: Graph, ops: list[int]) -> list[int]:
    found = {op_id for op_id in ops if op_id in g}
    for op_id in list(found):
        for value in (*g.pred[op_id], *g.succ[op_id]):
            found.update(g.pred[value])
            found.update(g.succ[value])
    return sorted(found)


def _check_op(
    g: Graph, op_id: int, opsets: Mapping[str, int], functions: frozenset[tuple[str, str, str]]
) -> None:
    op = g.op(op_id)
    operands, results = op.operands, [v for v in op.outputs if v]
    if g._pred[op_id].keys() != set(operands) or g._succ[op_id].keys() != set(results):
        raise GraphError("adjacency", "the edges of the op are not those of its operands and results", node=op.label)
    if len(results) != len(set(results)):
        raise GraphError("value-redefined", "the op defines a value twice", node=op.label)
    free: set[str] = set()
    for _, body in op.bodies():
        inner = body.free_values()
        free.update(inner)
        _verify(body, opsets, functions, frozenset(inner), None, op.label)
    if tuple(sorted(free)) != op.captures:
        raise GraphError("captures", f"the bodies read {sorted(free)}, listed are {list(op.captures)}", node=op.label)
    if (op.domain, op.type, op.overload) not in functions:
        check_schema(op, opsets)
        kinds = [g.tensor_type(v) if v else None for v in op.inputs]
        check_types(op, tuple([None if k is None else k.dtype or None for k in kinds]), opsets)


def _check_value(
    g: Graph, value: str, inputs: frozenset[str], outputs: frozenset[str], outer: frozenset[str]
) -> None:
    producers = g._pred[value]
    data = g._node[value]
    const = data["const"]
    if len(producers) + (const is not None or value in inputs) > 1:
        raise GraphError("value-redefined", f'the value "{value}" is defined twice', node=value)
    if not producers and const is None and value not in inputs and value not in outer:
        if value in outputs or g._succ[value]:
            raise GraphError("value-undefined", f'nothing defines the value "{value}"', node=value)
        return
    if const is None:
        return
    if not const.fits():
        raise GraphError("initializer-size", f"the constant does not have the bytes of {const.type}", node=value)
    kind = data["type"]
    if kind is None or not isinstance(kind, TensorType):
        return
    if kind.dtype not in (const.dtype, DType.UNDEFINED) or not compatible(kind.shape, const.shape):
        raise GraphError("initializer-type", f"a constant {const.type} for a value {kind}", node=value)
