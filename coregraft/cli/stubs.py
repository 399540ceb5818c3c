"""``coregraft stubs``: the Swift package of the ops that a model format has no lowering for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from coregraft.cli.envelope import Outcome, finish, json_option
from coregraft.cli.options import (
    custom_layers_option,
    dim_option,
    model_argument,
    own_option,
    parse_dims,
    parse_names,
    parse_shapes,
    read_custom_layers,
    shape_option,
    target_option,
)


@click.command("stubs", short_help="Write the Swift package of the ops that Core ML lacks.")
@model_argument
@click.option("-o", "--output", required=True, type=click.Path(path_type=str), help="Folder of the package.")
@click.option(
    "--format", "format_", type=click.Choice(["mlprogram", "neuralnetwork"]), default="neuralnetwork",
    show_default=True, help="Whose missing ops.",
)  # fmt: skip
@target_option
@dim_option
@shape_option
@own_option
@custom_layers_option
@json_option
def command(as_json: bool, **options: Any) -> None:
    """Write a Swift package with a class for each op of MODEL that has no lowering, without converting the model.

    Files that were edited since they were written are left alone.
    """
    finish("stubs", as_json, lambda: stubs(**options))


def stubs(
    model: str,
    output: str,
    format_: str,
    target: str,
    dims: tuple[str, ...],
    shapes: tuple[str, ...],
    own: str | None,
    custom_layers: str | None,
) -> Outcome:
    from coregraft.custom_layers.missing import missing_layers
    from coregraft.custom_layers.swift_package import package
    from coregraft.lowering.package import place_text

    read_custom_layers(custom_layers)
    uses = missing_layers(
        model, target=target, format=format_, dims=parse_dims(dims), shapes=parse_shapes(shapes), own=parse_names(own)
    )
    folder = Path(output)
    written: list[str] = []
    kept: list[str] = []
    if uses:
        for path, text in package(uses, Path(model).stem, folder="").items():
            (written if place_text(folder / path, text) else kept).append(str(folder / path))
    found = [{"op": use.op.label, "class": use.class_name} for use in uses]
    result = {"model": model, "ops": found, "written": written, "kept": kept}

    def show() -> None:
        if not uses:
            click.echo(f"every op has a lowering for {target} {format_}; nothing written")
        for entry in found:
            click.echo(f"{entry['op']} -> {entry['class']}")
        for path in written:
            click.echo(f"wrote {path}")
        for path in kept:
            click.echo(f"kept {path}, which was edited")

    return Outcome(result, show)
