"""``coregraft reduce``: the smallest part of a model that still fails."""

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
    passes_option,
    precision_option,
    source_options,
    target_option,
)

#: What a model becomes before ops are taken out of it: types for all values, and no functions around ops.
_PREPARED = "upgrade-opset,infer-shapes,inline-functions{missing-ops=false},cleanup"


@click.command("reduce", short_help="Shrink a failing model to the smallest part that still fails.")
@source_options
@output_option("Folder for the reproducer bundle.")
@click.option(
    "--check",
    "check_command",
    metavar="COMMAND",
    help="Command that exits non-zero on a failing {model}; {inputs} is its .npz. Without it: the conversion.",
)
@click.option("--inputs", metavar="FILE.npz", help="Inputs on which it fails, in place of a seeded draw.")
@precision_option("fp32")
@target_option
@format_option("mlprogram")
@passes_option
@own_option
@json_option
def command(
    source: Source,
    output: str,
    check_command: str | None,
    inputs: str | None,
    as_json: bool,
    **conversion: Any,
) -> None:
    """Shrink MODEL to the smallest part whose conversion computes something else, or on which --check fails.

    Also names the first pass that changes what the model computes, if one does.
    """

    def work() -> Outcome:
        options = {**conversion, "own": parse_names("--own", conversion["own"])}
        options["format"] = options.pop("format_")
        check_folder(output)
        with progress("reducing", hidden=as_json):
            return shrink(source, Path(output), check_command, inputs, options)

    finish("reduce", as_json, work)


def shrink(
    source: Source, output: Path, check_command: str | None, inputs: str | None, conversion: dict[str, Any]
) -> Outcome:
    """Reduce a model.

    Args:
        conversion: options of :func:`coregraft.lowering.convert.convert`.
    """
    from coregraft.cli.verify import read_inputs
    from coregraft.lowering import targets
    from coregraft.passes.pipelines import convert_pipeline
    from coregraft.rewriter.manager import PassManager
    from coregraft.verification.failures import conversion_fails, guilty_pass, write_bundle
    from coregraft.verification.inputs import draw, given
    from coregraft.verification.reduce import command_check, reduce

    goal = targets.get(conversion["target"], conversion["format"])
    fails = command_check(check_command) if check_command is not None else conversion_fails(conversion)
    graph = PassManager(_PREPARED).run(source.load()).graph
    feeds = given(graph, read_inputs(inputs)) if inputs is not None else draw(graph)
    guilty = None
    if check_command is None:
        pipeline = conversion["passes"] if conversion["passes"] is not None else convert_pipeline(goal, "fp32")
        guilty = guilty_pass(graph, feeds, pipeline, goal)
    reduced = reduce(graph, feeds, fails)
    facts = {
        "model": Path(source.path).name,
        "check": check_command or f"convert {conversion}",
        "guilty pass": guilty or "none found",
    }
    folder = write_bundle(reduced, output, facts)
    result = {
        "model": source.path,
        "ops": reduced.ops,
        "tried": reduced.tried,
        "guilty_pass": guilty,
        "bundle": str(folder),
    }

    def show() -> None:
        if guilty:
            click.echo(f"the pass that changes the result: {guilty}")
        click.echo(f"{len(reduced.ops)} op(s) left after {reduced.tried} tries:")
        for label in reduced.ops:
            click.echo(f"  {label}")
        click.echo(f"wrote {folder}")

    return Outcome(result, show)
