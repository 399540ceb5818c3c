"""Options that several commands share, and how their texts are read.

Texts are read when the command's work begins, so that what is wrong with them is told as every other error is.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coregraft.rewriter.errors import UsageError

if TYPE_CHECKING:
    from coregraft.rewriter.graph import Graph

TARGETS = ("iOS15", "iOS16", "iOS17", "iOS18", "iOS26")
FORMATS = ("mlprogram", "neuralnetwork")
#: The longest number that is read; no size of anything has more digits.
_MAX_DIGITS = 18

model_argument = click.argument("model", type=click.Path(path_type=str))
target_option = click.option(
    "--target", default="iOS17", show_default=True, metavar="|".join(TARGETS), help="Oldest system it must run on."
)
passes_option = click.option(
    "--passes", metavar="A,B{x=1}|FILE.toml", help="Passes to run instead of the default pipeline."
)
own_option = click.option(
    "--own", multiple=True, metavar="OPTYPE[,…]",
    help="Ops that the app is to run although Core ML has them: as custom layers, or between the parts. Repeatable.",
)  # fmt: skip
custom_layers_option = click.option(
    "--custom-layers", metavar="FILE.toml", type=click.Path(path_type=str), help="Custom layers to register first."
)


def format_option(default: str) -> Callable[[Any], Any]:
    return click.option(
        "--format", "format_", type=click.Choice(FORMATS), default=default, show_default=True, help="Kind of model."
    )


def precision_option(default: str) -> Callable[[Any], Any]:
    return click.option(
        "--precision", type=click.Choice(["fp16", "fp32"]), default=default, show_default=True, help="Compute type."
    )


def output_option(what: str) -> Callable[[Any], Any]:
    """``-o``, which is always wanted."""
    return click.option("-o", "--output", required=True, type=click.Path(path_type=str), help=what)


@dataclass(frozen=True)
class Source:
    """The model that a command is about, as its options say.

    Attributes:
        path: of the ``.onnx`` file.
        dim_texts, shape_texts: of ``--dim`` and ``--shape``.
        layers_file: of ``--custom-layers``, or None.
    """

    path: str
    dim_texts: tuple[str, ...] = ()
    shape_texts: tuple[str, ...] = ()
    layers_file: str | None = None

    def sizes(self) -> dict[str, Any]:
        """``dims`` and ``shapes``, as the functions that convert take them; custom layers are registered on the way.

        Raises:
            UsageError: ``dim-syntax``; ``shape-syntax``; as :func:`coregraft.custom_layers.toml_file.load_layers`.
        """
        register_layers(self.layers_file)
        return {"dims": parse_dims(self.dim_texts), "shapes": parse_shapes(self.shape_texts)}

    def load(self) -> Graph:
        """The model with its sizes fixed.

        Raises:
            UsageError: as :meth:`sizes`; ``dim-unknown``; ``input-unknown``; ``shape-conflict``.
            InputError: as :func:`coregraft.rewriter.onnx_io.load.load`.
        """
        from coregraft.rewriter.onnx_io.load import load
        from coregraft.rewriter.shapes.dims import pin_dims

        sizes = self.sizes()
        graph = load(self.path)
        pin_dims(graph, sizes["dims"], sizes["shapes"])
        return graph


def source_options(command: Callable[..., None]) -> Callable[..., None]:
    """MODEL, ``--dim``, ``--shape`` and ``--custom-layers``, handed to the command as one ``source``."""

    @model_argument
    @click.option("--dim", "dims", multiple=True, metavar="NAME=VALUE", help="Fix a symbolic dim. Repeatable.")
    @click.option(
        "--shape", "shapes", multiple=True, metavar="INPUT=1,3,224,224", help="Fix the shape of an input. Repeatable."
    )
    @custom_layers_option
    @functools.wraps(command)
    def wrapped(
        model: str, dims: tuple[str, ...], shapes: tuple[str, ...], custom_layers: str | None, **others: Any
    ) -> None:
        command(source=Source(model, dims, shapes, custom_layers), **others)

    return wrapped


def register_layers(path: str | None) -> None:
    """Register the layers of ``--custom-layers``, if it is given.

    Raises:
        UsageError: as :func:`coregraft.custom_layers.toml_file.load_layers`.
    """
    if path is not None:
        from coregraft.custom_layers.toml_file import load_layers

        load_layers(path)


def check_output(path: str, *suffixes: str) -> None:
    """See before the work begins that its result can be written.

    Args:
        suffixes: of which the file's name must have one.

    Raises:
        UsageError: ``output-suffix``; ``output-unwritable``.
    """
    file = Path(path)
    if file.suffix not in suffixes:
        hint = f"{file.stem or 'out'}{suffixes[0]}"
        raise UsageError("output-suffix", f'"{path}" does not end in {" or ".join(suffixes)}', hint=hint)
    if not file.parent.is_dir():
        raise UsageError("output-unwritable", "the folder does not exist", node=path)
    if not os.access(file.parent, os.W_OK):
        raise UsageError("output-unwritable", "the folder may not be written to", node=path)


def check_folder(path: str) -> None:
    """See before the work begins that a folder can be written into; it need not be there yet.

    Raises:
        UsageError: ``output-unwritable``.
    """
    there = next(place for place in (Path(path), *Path(path).absolute().parents) if place.exists())
    if not path or not there.is_dir() or not os.access(there, os.W_OK):
        raise UsageError("output-unwritable", "no folder can be made or written to there", node=path)


def parse_names(option: str, texts: Sequence[str]) -> tuple[str, ...]:
    """The names of texts with commas, each once.

    Raises:
        UsageError: ``option-empty`` when a text names nothing.
    """
    names: dict[str, None] = {}
    for text in texts:
        found = [name.strip() for name in text.split(",") if name.strip()]
        if not found:
            raise UsageError("option-empty", f"{option} names nothing")
        names.update(dict.fromkeys(found))
    return tuple(names)


def parse_dims(texts: Sequence[str]) -> dict[str, int]:
    """``NAME=VALUE`` texts as a mapping.

    Raises:
        UsageError: ``dim-syntax`` for anything else, a size below one, or a name given two sizes.
    """
    dims: dict[str, int] = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        if not equals or not name or not _is_size(value) or int(value) < 1:
            hint = "write --dim batch=1; ranges and lists of sizes are not supported yet"
            raise UsageError("dim-syntax", f"cannot read --dim {_shortened(text)}", hint=hint)
        if dims.setdefault(name, int(value)) != int(value):
            raise UsageError("dim-syntax", f"--dim {name} is given as {dims[name]} and as {value}")
    return dims


def parse_shapes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """``INPUT=1,3,224,224`` texts as a mapping; ``INPUT=`` is a scalar.

    Raises:
        UsageError: ``shape-syntax`` for anything else, or an input given two shapes.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        sizes = value.split(",") if value else []
        if not equals or not name or not all(_is_size(s.strip()) for s in sizes):
            hint = "write --shape x=1,3,224,224"
            raise UsageError("shape-syntax", f"cannot read --shape {_shortened(text)}", hint=hint)
        shape = tuple(int(s) for s in sizes)
        if shapes.setdefault(name, shape) != shape:
            raise UsageError("shape-syntax", f"--shape {name} is given as {shapes[name]} and as {shape}")
    return shapes


def _is_size(text: str) -> bool:
    return text.isdecimal() and len(text) <= _MAX_DIGITS


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."
