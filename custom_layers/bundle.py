"""A model in parts as a folder: packages, manifest, islands, golden vectors and the Swift package that runs them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coregraft.custom_layers import swift
from coregraft.custom_layers.cut import Cut
from coregraft.custom_layers.evaluate import NO_REFERENCES, Interpreter, References
from coregraft.custom_layers.manifest import manifest, write_goldens, write_island, write_json
from coregraft.custom_layers.manifest_file import MANIFEST
from coregraft.custom_layers.parts import Island, Part
from coregraft.lowering import package
from coregraft.lowering.convert import Conversion, convert, graph_of
from coregraft.rewriter.errors import UsageError
from coregraft.rewriter.graph import Graph

if TYPE_CHECKING:
    import onnx
    import onnx_graphsurgeon as gs

SUFFIX = ".parts"


@dataclass(frozen=True)
class Divided(Conversion):
    """A converted model in parts.

    Attributes:
        graph: the whole graph, as lowered.
        cut: how it is divided.
        steps: the cut's steps in order, converted.
        references: NumPy references of islands, by (domain, op type), besides those of registered custom layers.
    """

    graph: Graph
    cut: Cut
    steps: Sequence[Part | Island]
    references: References

    def save(self, path: str | Path) -> list[Path]:
        """Write the folder: whole or not at all, and the same bytes for the same conversion.

        A Swift class of an island that is there already is kept: it may have been filled in.

        Args:
            path: of the folder, ``*.parts``; for ``model.mlpackage`` it is ``model.parts``.

        Raises:
            UsageError: ``output-suffix``; ``output-unwritable``.
            UnsupportedError: ``model-too-large``; ``lowering-failed``.
        """
        path = parts_path(path)
        try:
            holder = tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent)
        except OSError as error:
            text = f'cannot write "{path}": {error.strerror or error}'
            raise UsageError("output-unwritable", text, node=str(path)) from error
        with holder as parent:
            fresh = Path(parent) / path.name
            fresh.mkdir()
            self._write(fresh)
            keep_classes(path, fresh)
            package.move(fresh, path)
        return [path]

    @property
    def islands(self) -> tuple[Island, ...]:
        return tuple(step for step in self.steps if isinstance(step, Island))

    @property
    def parts(self) -> tuple[Part, ...]:
        return tuple(step for step in self.steps if isinstance(step, Part))

    @property
    def model(self) -> Any:
        """There is no one model.

        Raises:
            UsageError: ``model-in-parts``.
        """
        raise UsageError("model-in-parts", "the conversion is in parts: there is no one model", hint="use save()")

    def _write(self, folder: Path) -> None:
        for part in self.parts:
            package.write(part.lowered.program, folder / f"{part.name}.mlpackage", self.target, part.metadata)
        for island in self.islands:
            write_island(island, self.target, folder)
        goldens = write_goldens(self.graph, self.steps, self.target, Interpreter(self.references), folder)
        content = manifest(self.graph, self.cut, self.steps, self.target, self.report.precision, goldens)
        write_json(folder / MANIFEST, content)
        for name, text in swift.files(content).items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8", newline="\n")


def parts_path(path: str | Path) -> Path:
    """The folder for an output path.

    Raises:
        UsageError: ``output-suffix``.
    """
    path = Path(path)
    if path.suffix not in (SUFFIX, ".mlpackage"):
        raise UsageError("output-suffix", f'"{path.name}" does not end in {SUFFIX}', hint=f"{path.stem}{SUFFIX}")
    return path.with_suffix(SUFFIX)


def cut(
    source: str | Path | onnx.ModelProto | gs.Graph | Graph,
    *,
    at: Sequence[str] = (),
    max_bytes: int | None = None,
    references: References = NO_REFERENCES,
    **options: Any,
) -> Divided:
    """Convert a model to parts: cut around the ops that Core ML lacks, at values, and into chunks.

    Args:
        source: as for :func:`coregraft.lowering.convert.convert`.
        at: names of values of the model at which to cut.
        max_bytes: most bytes of constants in a part.
        references: NumPy references of ops, by (domain, op type), for golden vectors.
        options: of ``convert``: ``target``, ``precision``, ``dims``, ``shapes``, ``passes``, ``coremltools_pipeline``.

    Raises:
        UsageError: ``cut-value``; ``cut-size``; and what ``convert`` raises.
        UnsupportedError: ``cut-impossible``; ``cut-too-large``.
    """
    from coregraft.custom_layers.islands import MARK, Islands

    if max_bytes is not None and max_bytes < 1:
        raise UsageError("cut-size", f"a part cannot have {max_bytes} bytes")
    graph = graph_of(source)
    for value in at:
        if value not in graph or graph.producer(value) is None:
            raise _no_value(graph, value)
    marks: Mapping[str, str] = {f"{MARK}{n}": value for n, value in enumerate(at)}
    graph.set_outputs({**graph.outputs, **marks})
    done = convert(graph, fallback=Islands(max_bytes, always=True, references=references), **options)
    assert isinstance(done, Divided)  # it was told to divide always
    return done


def _no_value(graph: Graph, value: str) -> UsageError:
    import difflib

    near = difflib.get_close_matches(value, [v for v in graph.values() if graph.producer(v) is not None], 3)
    hint = f"did you mean {', '.join(near)}?" if near else "name a value that an op of the model makes"
    return UsageError("cut-value", f'no op of the model makes "{value}"', hint=hint)


def keep_classes(old: Path, fresh: Path) -> None:
    """Take the islands' Swift classes over from a folder that is there: they may have been filled in."""
    for file in sorted((fresh / swift.ISLANDS).glob("*.swift")):
        kept = old / swift.ISLANDS / file.name
        if kept.is_file():
            shutil.copyfile(kept, file)
