"""Ops that Core ML has, and that the app is to run all the same: out of reach of passes and emitters.

While a graph is rewritten and lowered such an op has a domain that no pattern names; shape inference still knows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from coregraft.rewriter.errors import UsageError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.shapes import infer_op_types, site
from coregraft.rewriter.shapes.site import Site, Types
from coregraft.rewriter.types import Const, TensorType

#: What the domain of an owned op starts with; its own follows.
PREFIX = "coregraft.own/"


def is_owned(op: Op) -> bool:
    """Whether an op has been taken out of reach."""
    return op.domain.startswith(PREFIX)


def disown(op: Op) -> Op:
    """The op as the model has it."""
    return replace(op, domain=op.domain.removeprefix(PREFIX)) if is_owned(op) else op


def own(g: Graph, names: Iterable[str]) -> None:
    """Take ops out of reach, those of bodies included, in place.

    Args:
        names: op types, with their domain in front where they have one: ``Softmax``, ``com.acme.Fancy``.

    Raises:
        UsageError: ``own-unknown`` for a type that the graph does not have.
    """
    wanted = dict.fromkeys(names)
    found: dict[str, str] = {}  # name -> the domain it has from now on

    def moved(op: Op) -> Op:
        if name_of(op) not in wanted:
            return op
        domain = found[name_of(op)] = PREFIX + op.domain
        return replace(op, domain=domain)

    _change(g, moved)
    if missing := [name for name in wanted if name not in found]:
        types = ", ".join(sorted({name_of(op) for _, op in g.ops()}))
        raise UsageError("own-unknown", f"the model has no {missing[0]}", hint=f"after clean-up it has {types}")
    g.set_opsets({**g.opsets, **dict.fromkeys(sorted({*found.values()}), 1)})


def disown_all(g: Graph) -> None:
    """Give the ops of a graph the domains that the model has them in, in place."""
    _change(g, disown)
    g.set_opsets({domain: version for domain, version in g.opsets.items() if not domain.startswith(PREFIX)})


def name_of(op: Op) -> str:
    """An op's type as ``own`` is told it, with its domain in front where it has one."""
    return f"{op.domain}.{op.type}" if op.domain else op.type


def _change(g: Graph, change: Callable[[Op], Op]) -> None:
    """Replace the ops of a graph and of its bodies; ``change`` gives an op back as it is where it is to stay."""
    for op_id, op in list(g.ops()):
        bodies = {name: body.copy() for name, body in op.bodies()}
        for body in bodies.values():
            _change(body, change)
        changed = change(op)
        if bodies or changed is not op:
            g.set_op(op_id, replace(changed, attrs={**op.attrs, **bodies}))


def _typed(at: Site) -> Types | None:
    """The types of an owned op: those of the op itself."""
    if not is_owned(at.op):
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
