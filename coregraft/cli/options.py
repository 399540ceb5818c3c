"""Options that several commands share, and how their texts are read."""

from __future__ import annotations

from collections.abc import Sequence

import click

from coregraft.rewriter.errors import UsageError

TARGETS = ("iOS15", "iOS16", "iOS17", "iOS18", "iOS26")
FORMATS = ("mlprogram", "neuralnetwork")

model_argument = click.argument("model", type=click.Path(path_type=str))
target_option = click.option(
    "--target", default="iOS17", show_default=True, metavar="|".join(TARGETS), help="Oldest system it must run on."
)
format_option = click.option(
    "--format", "format_", type=click.Choice(FORMATS), default="mlprogram", show_default=True, help="Kind of model."
)
dim_option = click.option("--dim", "dims", multiple=True, metavar="NAME=VALUE", help="Fix a symbolic dim. Repeatable.")
shape_option = click.option(
    "--shape", "shapes", multiple=True, metavar="INPUT=1,3,224,224", help="Fix the shape of an input. Repeatable."
)
passes_option = click.option(
    "--passes", metavar="A,B{x=1}|FILE.toml", help="Passes to run instead of the default pipeline."
)
own_option = click.option(
    "--own", metavar="OPTYPE[,…]", help="Ops to make custom layers although Core ML has them (neuralnetwork)."
)
custom_layers_option = click.option(
    "--custom-layers", metavar="FILE.toml", type=click.Path(path_type=str), help="Custom layers to register first."
)


def read_custom_layers(path: str | None) -> None:
    """Register the layers of ``--custom-layers``, if it is given.

    Raises:
        UsageError: as :func:`coregraft.custom_layers.toml_file.load_layers`.
    """
    if path is not None:
        from coregraft.custom_layers.toml_file import load_layers

        load_layers(path)


def parse_names(text: str | None) -> tuple[str, ...]:
    """The names of a list with commas, each once."""
    return tuple(dict.fromkeys(name.strip() for name in (text or "").split(",") if name.strip()))


def parse_dims(texts: Sequence[str]) -> dict[str, int]:
    """``NAME=VALUE`` texts as a mapping.

    Raises:
        UsageError: ``dim-syntax`` for anything else, a size below one, or a name given two sizes.
    """
    dims: dict[str, int] = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        if not equals or not name or not value.isdecimal() or int(value) < 1:
            hint = "write --dim batch=1; ranges and lists of sizes are not supported yet"
            raise UsageError("dim-syntax", f"cannot read --dim {text}", hint=hint)
        if dims.setdefault(name, int(value)) != int(value):
            raise UsageError("dim-syntax", f"--dim {name} is given as {dims[name]} and as {value}")
    return dims


def parse_shapes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """``INPUT=1,3,224,224`` texts as a mapping; ``INPUT=`` is a scalar.

    Raises:
        UsageError: ``shape-syntax`` for anything else.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        sizes = value.split(",") if value else []
        if not equals or not name or not all(s.strip().isdecimal() for s in sizes):
            raise UsageError("shape-syntax", f"cannot read --shape {text}", hint="write --shape x=1,3,224,224")
        shapes[name] = tuple(int(s) for s in sizes)
    return shapes
