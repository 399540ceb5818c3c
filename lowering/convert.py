"""From an ONNX model to a Core ML package: the one call that does it all."""

from __future__ import annotations

import hashlib
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from coregraft.lowering import package, pipeline, targets
from coregraft.lowering.fallback import Divider, Fallback, Owner, fallback_for
from coregraft.lowering.metadata import Metadata, describe
from coregraft.lowering.program import lower_graph, require_lowerings, require_pinned
from coregraft.lowering.report import ConversionReport, count_operations, count_ops, weight_bytes
from coregraft.rewriter import facts
from coregraft.rewriter.contract import Fact
from coregraft.rewriter.errors import InputError, UsageError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.manager import PassManager, PassReport
from coregraft.rewriter.pipeline import PipelineLike
from coregraft.rewriter.shapes.dims import pin_dims
from coregraft.rewriter.target import Target
from coregraft.rewriter.verify import verify

if TYPE_CHECKING:
    import onnx
    import onnx_graphsurgeon as gs

Precision = Literal["fp16", "fp32"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
#: A warning names no more values.
_MOST_NAMED = 5


@dataclass(frozen=True)
class Conversion:
    """A converted model that can be saved.

    Attributes:
        program: the MIL program.
        target: what it was made for.
        metadata: the package's description fields.
        report: what happened.
        files: what belongs beside a model file of some name: text by path. The Swift package of custom layers.
    """

    program: Any
    target: Target
    metadata: Metadata
    report: ConversionReport
    files: Callable[[str], Mapping[str, str]]

    def save(self, path: str | Path) -> list[Path]:
        """Write the package, and beside it the files that belong to it; the written paths, the package first.

        The package is whole or not there, and the same bytes for the same conversion. A file beside it that has been
        edited since it was generated is left alone.

        Raises:
            UsageError: ``output-suffix``; ``output-unwritable``.
            UnsupportedError: ``custom-layer-in-program``; ``model-too-large``; ``lowering-failed``.
        """
        path = Path(path)
        package.write(self.program, path, self.target, self.metadata)
        written = [path]
        for name, text in self.files(path.stem).items():
            beside = path.parent / name
            if package.place_text(beside, text):
                written.append(beside)
        return written

    @cached_property
    def model(self) -> Any:
        """The model as a ``coremltools.models.MLModel``, not loaded for prediction."""
        import coremltools

        folder = tempfile.TemporaryDirectory(prefix="coregraft-")
        path = Path(folder.name) / f"model{package.SUFFIXES[self.target.format]}"
        package.write(self.program, path, self.target, self.metadata)
        model = coremltools.models.MLModel(str(path), skip_model_load=True)
        weakref.finalize(model, folder.cleanup)  # the weights are read from there as long as the model lives
        return model


def convert(
    source: str | Path | onnx.ModelProto | gs.Graph | Graph,
    *,
    target: str = targets.DEFAULT,
    precision: Precision = "fp16",
    format: str = "mlprogram",
    dims: Mapping[str, int] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    passes: PipelineLike | None = None,
    fallback: str | Fallback = "auto",
    own: Sequence[str] = (),
    coremltools_pipeline: str = "short",
) -> Conversion:
    """Convert a model.

    Args:
        source: path of an ``.onnx`` file, ``ModelProto``, onnx-graphsurgeon graph, or :class:`Graph`; not changed.
        target: deployment target, ``iOS15`` to ``iOS26``.
        precision: ``fp16`` or ``fp32``; a neuralnetwork has no precision of its own and gets fp32.
        format: ``mlprogram`` or ``neuralnetwork``.
        dims: sizes of symbolic dims by name.
        shapes: shapes of inputs by name.
        passes: rewrites to run in place of the default pipeline, precision assignment included.
        fallback: what becomes of ops without a lowering: ``auto``, ``custom``, ``cut``, ``error``, or what takes them.
        own: op types that go to the fallback although they have a lowering, as in the model at the internal opset.
        coremltools_pipeline: coremltools' own passes: ``short``, ``default`` or ``none``.

    Raises:
        UsageError: an argument names something that does not exist; the code says which.
        InputError, GraphError: the model is broken.
        UnsupportedError: the model cannot be converted as asked, with what would help.
        PassError: a pass failed.
    """
    goal = targets.get(target, format)
    if precision not in PRECISIONS:
        raise UsageError(
            "precision-unknown", f'precision "{precision}" is unknown', hint=f"one of {', '.join(PRECISIONS)}"
        )
    if precision != "fp32" and not goal.has_fp16:
        precision = "fp32"
    pipeline.passes_for(coremltools_pipeline, format)  # a wrong name is told before the work, not after
    rung = fallback_for(format, fallback) if isinstance(fallback, str) else fallback
    graph = graph_of(source)
    verify(graph)
    before = count_ops(graph)
    pin_dims(graph, dims or {}, {name: tuple(shape) for name, shape in (shapes or {}).items()})
    require_pinned(graph)
    if own:
        _own(graph, goal, rung, own)
    reports = _rewrite(graph, goal, _default_passes(goal, precision) if passes is None else passes)
    if rung is None:
        require_lowerings(graph, goal)
    after = count_ops(graph)
    lowered = lower_graph(graph, goal, rung.emit if rung is not None else None)
    words = _own_words(source, goal, precision)
    report = ConversionReport(
        target=target,
        format=format,
        precision=precision,
        coremltools_pipeline=coremltools_pipeline,
        ops_before=before,
        ops_after=after,
        mil_ops={},
        passes=reports,
        fallbacks=rung.taken() if rung is not None else (),
        weight_bytes=0,
        inputs=lowered.inputs,
        outputs=lowered.outputs,
        names={},
        warnings=_warnings(rung, reports, lowered.loose),
    )
    metadata = describe(graph, lowered.inputs, lowered.outputs, words)
    whole = Conversion(lowered.program, goal, metadata, report, rung.files if rung is not None else _no_files)
    if isinstance(rung, Divider) and rung.divides():
        return rung.divide(graph, whole, coremltools_pipeline)
    pipeline.run(lowered.program, goal, coremltools_pipeline)
    report = replace(
        report,
        mil_ops=count_operations(lowered.program),
        weight_bytes=weight_bytes(lowered.program),
        names=lowered.names(),
    )
    return replace(whole, report=report)


def graph_of(source: str | Path | onnx.ModelProto | gs.Graph | Graph) -> Graph:
    """A graph of one's own from anything that holds a model.

    Raises:
        InputError: as :func:`coregraft.rewriter.onnx_io.load.load`; ``source-unknown`` for any other thing.
    """
    from coregraft.rewriter.onnx_io.load import from_model, load

    if isinstance(source, Graph):
        own: Graph = source.copy()
        return own
    if isinstance(source, (str, Path)):
        return load(source)
    import onnx

    if isinstance(source, onnx.ModelProto):
        return from_model(source)
    import onnx_graphsurgeon

    if isinstance(source, onnx_graphsurgeon.Graph):
        from coregraft.rewriter.onnx_io.gs import from_graphsurgeon

        return from_graphsurgeon(source)
    raise InputError("source-unknown", f"cannot convert a {type(source).__name__}")


def _rewrite(graph: Graph, goal: Target, passes: PipelineLike) -> list[PassReport]:
    """Run the passes, and then what lowering needs to be true if they did not see to it."""
    return [*PassManager(passes, goal).run_in_place(graph).reports, *settle(graph, goal)]


def settle(graph: Graph, goal: Target) -> list[PassReport]:
    """Bring a graph to the internal opset, with types, if it is not there."""
    reports: list[PassReport] = []
    for fact in (Fact.INTERNAL_OPSET, Fact.TYPED):
        if facts.violated(fact, graph) is not None:
            reports += PassManager(facts.PROVIDERS[fact], goal).run_in_place(graph).reports
    return reports


def _own(graph: Graph, goal: Target, rung: Fallback | None, names: Sequence[str]) -> None:
    if not isinstance(rung, Owner):
        text = "with this fallback nothing takes ops that Core ML has"
        raise UsageError("own-unavailable", text, hint="--fallback auto: custom layers, or islands between parts")
    settle(graph, goal)
    rung.own(graph, names)


def _no_files(_: str) -> Mapping[str, str]:
    return {}


def _default_passes(goal: Target, precision: Precision) -> PipelineLike:
    from coregraft.passes.pipelines import convert_pipeline

    return convert_pipeline(goal, precision)


def _own_words(source: object, goal: Target, precision: str) -> dict[str, str]:
    """coregraft's own metadata; the file's hash covers the ``.onnx`` file, not data it keeps elsewhere."""
    from coregraft import __version__

    words = {"version": __version__, "target": goal.name, "precision": precision}
    if isinstance(source, (str, Path)):
        with Path(source).open("rb") as file:
            words["source_sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return words


def _warnings(rung: Fallback | None, reports: Sequence[PassReport], loose: Sequence[str]) -> tuple[str, ...]:
    """What the app must do, which parameters of the model it cannot change, which outputs it gets otherwise, and which
    sizes depend on the data."""
    from coregraft.passes.pipelines import PARAMETERS

    telling = (*PARAMETERS, "bind-trip-count", "drop-zip-map", "number-labels")
    notes = [note for report in reports if report.spec in telling for note in report.notes]
    if loose:
        names = ", ".join(f'"{name}"' for name in loose[:_MOST_NAMED]) + (", …" if len(loose) > _MOST_NAMED else "")
        notes.append(f"the size of {names} depends on the data: Core ML computes what has no fixed size on the CPU, "
                     "and what it makes of a tensor without elements is not measured")  # fmt: skip
    if rung is None or not rung.taken():
        return tuple(notes)
    classes = sorted({entry["class"] for entry in rung.taken()})
    return (f"the app must implement {', '.join(classes)}: fill in the Swift class of each", *notes)
