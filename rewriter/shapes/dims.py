"""Fixing the sizes of a model's inputs: ``--dim batch=1`` and ``--shape x=1,3,224,224``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from coregraft.rewriter.errors import GraphError, UsageError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.shapes import Inference, Mismatch, dim_expr
from coregraft.rewriter.types import Dim, TensorType


def symbolic_dims(g: Graph) -> tuple[str, ...]:
    """The names of the dims of a graph's inputs, in order of appearance; formulas over other names are left out."""
    texts = dict.fromkeys(
        d
        for v in g.inputs
        if (kind := g.tensor_type(v)) and kind.shape
        for d in kind.shape
        if isinstance(d, str) and d not in dim_expr.UNNAMED
    )
    names = {t for t in texts if dim_expr.parse(t) == dim_expr.symbol(t)}
    return tuple(t for t in texts if t in names or not dim_expr.names(t) <= names)


def pin_dims(g: Graph, dims: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Give the inputs of a graph fixed sizes, and infer all other types anew.

    Args:
        dims: sizes by the name of a symbolic dim; a formula over pinned names (``2*seq``) gets its number.
        shapes: whole shapes by input name, for inputs whose dims have no names, or no rank. A shape also fixes
            the names it meets, everywhere they appear.

    Raises:
        UsageError: ``dim-unknown`` for a name no input has, ``input-unknown`` for an input that is not there,
            ``shape-conflict`` when sizes contradict each other, the model's inputs, or an op of the model.
        GraphError: ``shape-mismatch`` when an op of the model cannot run, whatever the sizes.
    """
    sizes = _checked(g, dims)
    for name, shape in shapes.items():
        _bind(g, name, shape, sizes)
    known = {name: size for name, size in sizes.items() if dim_expr.parse(name) == dim_expr.symbol(name)}
    for mismatch in _inferred(g):  # before any size was fixed: not the caller's doing
        raise GraphError("shape-mismatch", f"an op cannot run: {mismatch.problem}", node=mismatch.op)
    for value in g.inputs:
        kind = g.tensor_type(value)
        if value in shapes and kind is not None:
            _agree(value, kind, shapes[value], sizes, known)
            g.nodes[value]["type"] = TensorType(kind.dtype, tuple(shapes[value]))
    _substitute(g, sizes, known)
    for mismatch in _inferred(g):
        problem = f"with these sizes an op cannot run: {mismatch.problem}"
        hint = "Give the sizes that the model was made for."
        raise UsageError("shape-conflict", problem, node=mismatch.op, hint=hint)


def _checked(g: Graph, dims: Mapping[str, int]) -> dict[str, int]:
    there = symbolic_dims(g)
    for name, size in dims.items():
        if name not in there:
            known = f"The model's dims are: {', '.join(there)}."
            hint = known if there else "The model's dims have no names; use --shape."
            raise UsageError("dim-unknown", f'no input has a dim named "{name}"', hint=hint)
        if size < 1:
            raise UsageError("shape-conflict", f'dim "{name}" cannot be {size}')
    return dict(dims)


def _bind(g: Graph, name: str, shape: tuple[int, ...], sizes: dict[str, int]) -> None:
    """Check a shape against its input, and take the sizes of the names that it fixes."""
    if name not in g.inputs:
        hint = f"Its inputs are: {', '.join(g.inputs)}."
        raise UsageError("input-unknown", f'the model has no input "{name}"', hint=hint)
    kind = g.tensor_type(name)
    if kind is None:
        raise UsageError("shape-conflict", "the input is not a tensor and has no shape", node=name)
    if any(d < 1 for d in shape):
        raise UsageError("shape-conflict", f"sizes must be positive, not {shape}", node=name)
    if kind.shape is None:
        return
    if len(kind.shape) != len(shape):
        raise UsageError("shape-conflict", f"the input is {kind}; {len(shape)} sizes were given", node=name)
    there = symbolic_dims(g)
    for dim, size in zip(kind.shape, shape, strict=True):
        if isinstance(dim, str) and dim in there and sizes.setdefault(dim, size) != size:
            raise UsageError("shape-conflict", f'dim "{dim}" cannot be both {sizes[dim]} and {size}', node=name)


def _agree(
    value: str, kind: TensorType, shape: tuple[int, ...], sizes: Mapping[str, int], known: Mapping[str, int]
) -> None:
    for dim, size in zip(kind.shape or (), shape, strict=False):
        fixed = _size(dim, sizes, known)
        if isinstance(fixed, int) and fixed >= 0 and fixed != size:
            said = f"{dim}" if dim == fixed else f"{dim} = {fixed}"
            raise UsageError("shape-conflict", f"a dim of the input is {said}, not {size}", node=value)


def _size(dim: Dim, sizes: Mapping[str, int], known: Mapping[str, int]) -> Dim:
    if not isinstance(dim, str):
        return dim
    if dim in sizes:
        return sizes[dim]
    value = dim_expr.evaluate(dim, known)
    return dim if value is None or not (dim_expr.names(dim) & known.keys()) else dim_expr.as_dim(value)


def _substitute(g: Graph, sizes: Mapping[str, int], known: Mapping[str, int]) -> None:
    """Put the sizes into the types of the graph and its bodies."""
    for value in g.values():
        kind = g.tensor_type(value)
        if kind is not None and kind.shape and any(isinstance(d, str) for d in kind.shape):
            g.nodes[value]["type"] = TensorType(kind.dtype, tuple(_size(d, sizes, known) for d in kind.shape))
    for op_id, op in list(g.ops()):
        if bodies := {name: body.copy() for name, body in op.bodies()}:
            for body in bodies.values():
                _substitute(body, sizes, known)
            g.nodes[op_id]["op"] = replace(op, attrs=MappingProxyType({**op.attrs, **bodies}))


def _inferred(g: Graph) -> list[Mismatch]:
    run = Inference(g)
    run.run()
    return run.mismatches
