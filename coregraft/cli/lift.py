"""``coregraft lift``: a Core ML package back to ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from coregraft.cli.envelope import Outcome, finish, json_option, progress
from coregraft.cli.options import check_output, output_option


@click.command("lift", short_help="Turn a Core ML package back into ONNX.")
@click.argument("package", type=click.Path(path_type=str))
@output_option("The .onnx file.")
@click.option("--strict", is_flag=True, help="Refuse what Core ML leaves undefined, where else a warning says so.")
@click.option(
    "--fp16",
    type=click.Choice(["simulate", "exact"]),
    default="simulate",
    show_default=True,
    help="Round each fp16 value after its op, or never.",
)
@click.option("--function", metavar="NAME", help="Which function of a package with several; default: its default one.")
@json_option
def command(
    package: str, output: str, strict: bool, fp16: Literal["simulate", "exact"], function: str | None, as_json: bool
) -> None:
    """Write PACKAGE (.mlpackage or .mlmodel) as an ONNX model that onnxruntime runs and any ONNX viewer shows.

    Values that are fp16 in the package are float in the model, its inputs and outputs included.
    """

    def work() -> Outcome:
        with progress("lifting", hidden=as_json):
            return lift(package, output, strict, fp16, function)

    finish("lift", as_json, work)


def lift(
    package: str, output: str, strict: bool, fp16: Literal["simulate", "exact"], function: str | None
) -> Outcome:
    from collections import Counter

    from coregraft.cli.report import print_some, print_written
    from coregraft.lowering.lift import lift as lifted
    from coregraft.rewriter.errors import InputError
    from coregraft.rewriter.onnx_io.save import save
    from coregraft.verification.parts import is_parts

    check_output(output, ".onnx")
    if is_parts(package):
        hint = f"lift its packages one by one, as {Path(package, 'part0.mlpackage')}"
        raise InputError("package-in-parts", "a model in parts is several packages", node=package, hint=hint)
    graph = lifted(package, strict=strict, fp16=fp16, function=function)
    written = save(graph, output)
    ops = Counter(op.type for _, op in graph.ops())
    types = {name: str(graph.type_of(name)) for name in graph.inputs}
    results = {public: str(graph.type_of(value)) for public, value in graph.outputs.items()}
    result = {
        "package": package,
        "output": output,
        "fp16": fp16,
        "inputs": types,
        "outputs": results,
        "ops": dict(sorted(ops.items())),
    }

    def show() -> None:
        print_some([f"input {name}: {kind}" for name, kind in types.items()])
        print_some([f"output {name}: {kind}" for name, kind in results.items()])
        click.echo(f"{ops.total()} ONNX ops")
        print_written(written)

    return Outcome(result, show, warnings=list(graph.graph["lift_warnings"]))
