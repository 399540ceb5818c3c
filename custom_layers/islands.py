"""The rung of an ML Program: the ops that it cannot hold become islands, and the model is cut around them (H8.06).

Which ops those are is known only when all have been lowered: an emitter may refuse what its table entry promises. So
the whole graph is lowered once with stand-ins for the islands, and then again in parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from coregraft.custom_layers import own as owning
from coregraft.custom_layers.bundle import Divided
from coregraft.custom_layers.casts import find_cut_sharing_casts
from coregraft.custom_layers.chunks import divided
from coregraft.custom_layers.cut import Cut
from coregraft.custom_layers.evaluate import NO_REFERENCES, References
from coregraft.custom_layers.layers import class_name
from coregraft.custom_layers.parts import Island, Part, convert_part, cost_of, island_of, wire_sizes
from coregraft.lowering.report import count_operations, weight_bytes
from coregraft.rewriter.errors import UnsupportedError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.types import DType

if TYPE_CHECKING:
    from coregraft.lowering.convert import Conversion
    from coregraft.lowering.emitter import Emitter

#: Public names of the values to cut at, while the passes run.
MARK = "coregraft_cut_at_"


class Islands:
    """The islands of one conversion (a :class:`coregraft.lowering.fallback.Divider`).

    Args:
        max_bytes: of constants in a part; None without a limit.
        always: divide a model without islands, too.
        references: NumPy references of ops for golden vectors, by (domain, op type).
    """

    def __init__(
        self, max_bytes: int | None = None, *, always: bool = False, references: References = NO_REFERENCES
    ) -> None:
        self._max_bytes = max_bytes
        self._always = always
        self._references = references
        self._refused: list[tuple[Op, str]] = []

    def own(self, g: Graph, names: Iterable[str]) -> None:
        """See that ops become islands although they have a lowering: :func:`coregraft.custom_layers.own.own`."""
        owning.own(g, names)

    def emit(self, b: Emitter, op: Op, why: UnsupportedError) -> Sequence[Any]:
        """Emit stand-ins of the types of an op's results; they are no constants, so that nothing folds.

        Raises:
            UnsupportedError: ``shape-unknown``, ``type-unknown``, ``dtype-unsupported``.
        """
        reason = b.target.why_not(op) or why.message.removeprefix(f"{op.label}: ")
        self._refused.append((op, "the app was told to run it" if owning.is_owned(op) else reason))
        return [_stand_in(b, op, i) if name else None for i, name in enumerate(op.outputs)]

    def files(self, model: str) -> Mapping[str, str]:
        """None beside the model: a model in parts is a folder."""
        return {}

    def taken(self) -> Sequence[Mapping[str, str]]:
        """The ops that Core ML does not take, in order."""
        ops = [(owning.disown(op), why) for op, why in self._refused]
        return [{"op": op.label, "rung": "cut", "class": class_name(op), "why": why} for op, why in ops]

    def divides(self) -> bool:
        return self._always or bool(self._refused)

    def divide(self, graph: Graph, whole: Conversion, ml_pipeline: str) -> Conversion:
        """The conversion in parts. See :class:`coregraft.lowering.fallback.Divider`.

        Raises:
            UnsupportedError: ``cut-impossible``; ``cut-too-large``; what lowering raises.
        """
        at = _unmarked(graph)
        why = self._islands(graph)
        owning.disown_all(graph)
        size = wire_sizes(graph, whole.target)
        cut = find_cut_sharing_casts(graph, why, size, at)
        if self._max_bytes is not None:
            cut = divided(graph, cut, self._max_bytes, size)
        words = {k.removeprefix("com.coregraft."): v for k, v in whole.metadata.user.items()}
        steps: list[Part | Island] = []
        taken: set[str] = {f"part{n}" for n in range(len(cut.parts))}
        parts = 0
        for step in cut.steps:
            if step.custom:
                steps.append(island_of(graph, step, taken, why[step.ops[0]]))
                continue
            steps.append(convert_part(graph, step, f"part{parts}", whole.target, ml_pipeline, words))
            parts += 1
        made = [s for s in steps if isinstance(s, Part)]
        marks = tuple(f for f in whole.report.outputs if not f.name.startswith(MARK))
        report = replace(
            whole.report,
            mil_ops=_sum([count_operations(p.lowered.program) for p in made]),
            weight_bytes=sum(weight_bytes(p.lowered.program) for p in made),
            names={k: v for p in made for k, v in p.lowered.names().items()},
            outputs=marks,
            fallbacks=[_entry(graph, cut, n, s) for n, s in enumerate(steps) if isinstance(s, Island)],
            warnings=_warnings(cut, steps),
        )
        made_of = graph, cut, tuple(steps), self._references
        return Divided(None, whole.target, whole.metadata, report, whole.files, *made_of)

    def _islands(self, graph: Graph) -> dict[int, str]:
        """Id of each island -> why it is one; where a body holds the op, its owner is the island."""
        refused = {id(op): (op, why) for op, why in self._refused}
        found: dict[int, str] = {}
        for op_id in graph.topological():
            op = graph.op(op_id)
            if id(op) in refused:
                found[op_id] = refused[id(op)][1]
                continue
            inner = [refused[id(o)] for o in _inside(op) if id(o) in refused]
            if inner:
                found[op_id] = "; ".join(f"it holds {o.label}: {why}" for o, why in inner)
        return found


def _inside(op: Op) -> Iterator[Op]:
    for _, body in op.bodies():
        for _, inner in body.ops():
            yield inner
            yield from _inside(inner)


def _stand_in(b: Emitter, op: Op, i: int) -> Any:
    import numpy as np

    from coregraft.lowering.emitter import MIL_NAMES

    name = op.outputs[i]
    kind, dtype = b.type(name), b.dtype(name)
    if kind.static_shape is None:
        raise UnsupportedError(
            "shape-unknown", f'the shape of result "{name}" is not known: {kind}', node=op.label,
            hint="pin the input dims, put the shape into the model's value info, or register a custom layer for the op "
            "with a shape function",
        )  # fmt: skip
    shape = kind.static_shape
    # Core ML has no op with an opaque result of any type; coremltools does not fold random numbers.
    var = b.mb.random_uniform(shape=list(shape) or [1], low=np.float32(0), high=np.float32(1), seed=0)
    if not shape:
        var = b.mb.squeeze(x=var, axes=[0])
    return var if dtype is DType.FLOAT else b.mb.cast(x=var, dtype=MIL_NAMES[dtype])


def _unmarked(graph: Graph) -> list[str]:
    """Take the marks of values to cut at off the outputs; the values, where they are computed."""
    marked = {value: None for name, value in graph.outputs.items() if name.startswith(MARK)}
    graph.set_outputs({name: value for name, value in graph.outputs.items() if not name.startswith(MARK)})
    values = []
    for value in marked:
        op_id = graph.producer(value)
        # The precision pass casts an output back to the model's type: the value itself is what was cast.
        unread = not graph.users(value) and not graph.public_names(value)
        if op_id is not None and graph.op(op_id).key == ("", "Cast") and unread:
            source = graph.op(op_id).inputs[0]
            graph.remove_nodes_from([op_id, value])
            value = source
        values.append(value)
    return values


def _sum(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    kinds = sorted({kind for count in counts for kind in count})
    return {kind: sum(count.get(kind, 0) for count in counts) for kind in kinds}


def _entry(graph: Graph, cut: Cut, n: int, island: Island) -> dict[str, str]:
    cost = cost_of(graph, cut, cut.steps[n])
    return {
        "op": island.op.label,
        "rung": "cut",
        "class": island.class_name,
        "why": island.why,
        "costs": f"{cost['reads_bytes']} bytes out of Core ML and {cost['writes_bytes']} back in per run",
    }


def _warnings(cut: Cut, steps: Sequence[Part | Island]) -> tuple[str, ...]:
    found = [
        f"the model is in {len(cut.parts)} part(s) with {len(cut.islands)} op(s) between them that the app runs; "
        f"{cut.bytes} bytes are handed over per run"
    ]
    classes = sorted({s.class_name for s in steps if isinstance(s, Island)})
    if classes:
        found.append(f"the app must implement {', '.join(classes)}: fill in the Swift class of each")
    if cut.repeated:
        found.append(f"{sum(cut.repeated.values())} bytes of constants are in more than one part")
    return tuple(found)
