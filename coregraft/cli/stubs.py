"""``coregraft stubs``: the Swift package of the ops that a model format has no lowering for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from coregraft.cli.envelope import Outcome, finish, json_option, progress
from coregraft.cli.options import (
    Source,
    check_folder,
    format_option,
    output_option,
    own_option,
    parse_names,
    source_options,
    target_option,
)


@click.command("stubs", short_help="Write the Swift package of the ops that Core ML lacks.")
@source_options
@output_option("Folder of the package.")
@format_option("neuralnetwork")
@target_option
@own_option
@json_option
def command(as_json: bool, **options: Any) -> None:
    """Write a Swift package with a class for each op of MODEL that has no lowering, without converting the model.

    Files that were edited since they were written are left alone.
    """

    def work() -> Outcome:
        with progress("looking for ops without a lowering", hidden=as_json):
            return stubs(**options)

    finish("stubs", as_json, work)


def stubs(source: Source, output: str, format_: str, target: str, own: tuple[str, ...]) -> Outcome:
    from coregraft.custom_layers.missing import missing_layers
    from coregraft.custom_layers.swift_package import package
    from coregraft.lowering.package import place_text

    check_folder(output)
    uses = missing_layers(
        source.path, target=target, format=format_, own=parse_names("--own", own), **source.sizes()
    )
    folder = Path(output)
    written: list[str] = []
    kept: list[str] = []
    if uses:
        for path, text in package(uses, Path(source.path).stem, folder="").items():
            (written if place_text(folder / path, text) else kept).append(str(folder / path))
    found = [{"op": use.op.label, "class": use.class_name} for use in uses]
    result = {"model": source.path, "ops": found, "written": written, "kept": kept}

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
