"""Ops that Core ML has, and that the user wants to be custom layers all the same: out of reach of passes and emitters.

While a graph is rewritten and lowered such an op has a domain that no pattern names; shape inference still knows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from coregraft.rewriter.errors import UsageError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.shapes import infer_op_types, site
from coregraft.rewriter.shapes.site import Site, Types
from coregraft.rewriter.types import Const, TensorType

#: What the domain of an owned op starts with; its own follows.
PREFIX = "coregraft.own/"


def disown(op: Op) -> Op:
    """The op as the model has it."""
    return replace(op, domain=op.domain.removeprefix(PREFIX)) if op.domain.startswith(PREFIX) else op


def own(g: Graph, names: Iterable[str]) -> None:
    """Take ops out of reach, those of bodies included, in place.

    Args:
        names: op types, with their domain in front where they have one: ``Softmax``, ``com.acme.Fancy``.

    Raises:
        UsageError: ``own-unknown`` for a type that the graph does not have.
    """
    wanted = dict.fromkeys(names)
    found: dict[str, None] = {}
    _own(g, set(wanted), found)
    if missing := [name for name in wanted if name not in found]:
        types = ", ".join(sorted({name_of(op) for _, op in g.ops()}))
        raise UsageError("own-unknown", f"the model has no {missing[0]}", hint=f"after clean-up it has {types}")
    domains = {PREFIX + op.domain.removeprefix(PREFIX) for _, op in g.ops() if op.domain.startswith(PREFIX)}
    g.set_opsets({**g.opsets, **dict.fromkeys(sorted(domains), 1)})


def name_of(op: Op) -> str:
    """An op's type as ``own`` is told it, with its domain in front where it has one."""
    return f"{op.domain}.{op.type}" if op.domain else op.type


def _own(g: Graph, wanted: set[str], found: dict[str, None]) -> None:
    for op_id, op in list(g.ops()):
        bodies = {name: body.copy() for name, body in op.bodies()}
        for body in bodies.values():
            _own(body, wanted, found)
        domain = op.domain
        if name_of(op) in wanted:
            found[name_of(op)] = None
            domain = PREFIX + op.domain
        if bodies or domain != op.domain:
            g.set_op(op_id, replace(op, domain=domain, attrs={**op.attrs, **bodies}))


def _typed(at: Site) -> Types | None:
    """The types of an owned op: those of the op itself."""
    if not at.op.domain.startswith(PREFIX):
        return None
    g, op = Graph(), disown(at.op)
    for n, (name, kind) in enumerate(zip(op.inputs, at.types, strict=True)):
        if name and name not in g:
            g.add_value(name, kind, _content(at, n))
    for name in filter(None, op.outputs):
        g.add_value(name)
    return infer_op_types(g, g.add_op(op))


def _content(at: Site, n: int) -> Const | None:
    kind, content = at.tensor(n), at.content(n)
    if not isinstance(kind, TensorType) or content is None:
        return None
    if not all(isinstance(x, int | float | np.number) for x in content.flat):
        return None
    return Const(kind.dtype, content.shape, content.astype(kind.dtype.numpy))


site.provide(_typed)
