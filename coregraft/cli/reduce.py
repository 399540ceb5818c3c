"""``coregraft reduce``: the smallest part of a model that still fails."""

from __future__ import annotations

from pathlib import Path

import click

from coregraft.cli.envelope import Outcome, finish, json_option, progress
from coregraft.cli.options import (
    dim_option,
    format_option,
    model_argument,
    parse_dims,
    parse_shapes,
    passes_option,
    shape_option,
    target_option,
)


@click.command("reduce", short_help="Shrink a failing model to the smallest part that still fails.")
@model_argument
@click.option("-o", "--output", required=True, metavar="DIR", help="Folder for the reproducer bundle.")
@click.option(
    "--check",
    "check_command",
    metavar="COMMAND",
    help="Command that exits non-zero on a failing {model}; {inputs} is its .npz.",
)
@click.option("--inputs", metavar="FILE.npz", help="Inputs on which it fails, in place of a seeded draw.")
@click.option("--precision", type=click.Choice(["fp16", "fp32"]), default="fp32", show_default=True)
@target_option
@format_option
@dim_option
@shape_option
@passes_option
@json_option
def command(
    model: str,
    output: str,
    check_command: str | None,
    inputs: str | None,
    precision: str,
    target: str,
    format_: str,
    dims: tuple[str, ...],
    shapes: tuple[str, ...],
    passes: str | None,
    as_json: bool,
) -> None:
    """Shrink MODEL to the smallest part whose conversion computes something else, or on which --check fails.

    Also names the first pass that changes what the model computes, if one does.
    """

    def work() -> Outcome:
        options = {"precision": precision, "target": target, "format": format_, "passes": passes}
        with progress("reducing", hidden=as_json):
            return shrink(model, output, check_command, inputs, options, dims, shapes)

    finish("reduce", as_json, work)


def shrink(
    model: str,
    output: str,
    check_command: str | None,
    inputs: str | None,
    options: dict[str, str | None],
    dims: tuple[str, ...],
    shapes: tuple[str, ...],
) -> Outcome:
    from coregraft.cli.verify import read_inputs
    from coregraft.lowering import targets
    from coregraft.passes.pipelines import convert_pipeline
    from coregraft.rewriter.manager import PassManager
    from coregraft.rewriter.onnx_io.load import load
    from coregraft.rewriter.shapes.dims import pin_dims
    from coregraft.verification.failures import conversion_fails, guilty_pass, write_bundle
    from coregraft.verification.inputs import draw, given
    from coregraft.verification.reduce import command_check, reduce

    graph = load(model)
    pin_dims(graph, parse_dims(dims), parse_shapes(shapes))
    graph = PassManager("upgrade-opset,infer-shapes,inline-functions{missing-ops=false},cleanup").run(graph).graph
    feeds = given(graph, read_inputs(inputs)) if inputs else draw(graph)
    guilty = None
    if check_command is None:
        goal = targets.get(str(options["target"]), str(options["format"]))
        pipeline = options["passes"] if options["passes"] is not None else convert_pipeline(goal, "fp32")
        guilty = guilty_pass(graph, feeds, pipeline, goal)
    fails = command_check(check_command) if check_command is not None else conversion_fails(options)
    reduced = reduce(graph, feeds, fails)
    check = check_command or f"convert {options}"
    facts = {"model": Path(model).name, "check": check, "guilty pass": guilty or "none found"}
    folder = write_bundle(reduced, Path(output), facts)
    result = {"model": model, "ops": reduced.ops, "tried": reduced.tried, "guilty_pass": guilty, "bundle": str(folder)}

    def show() -> None:
        if guilty:
            click.echo(f"the pass that changes the result: {guilty}")
        click.echo(f"{len(reduced.ops)} op(s) left after {reduced.tried} tries:")
        for label in reduced.ops:
            click.echo(f"  {label}")
        click.echo(f"wrote {folder}")

    return Outcome(result, show)
