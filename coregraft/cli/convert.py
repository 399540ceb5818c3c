"""``coregraft convert``: ONNX to a Core ML package."""

from __future__ import annotations

from typing import Any, Literal

import click

from coregraft.cli.envelope import FINDINGS, OK, Outcome, finish, json_option, progress
from coregraft.cli.options import (
    custom_layers_option,
    dim_option,
    format_option,
    model_argument,
    own_option,
    parse_dims,
    parse_names,
    parse_shapes,
    passes_option,
    read_custom_layers,
    shape_option,
    target_option,
)


@click.command("convert", short_help="Convert an ONNX model to a Core ML package.")
@model_argument
@click.option("-o", "--output", required=True, type=click.Path(path_type=str), help="The .mlpackage, or .mlmodel.")
@target_option
@click.option(
    "--precision", type=click.Choice(["fp16", "fp32"]), default="fp16", show_default=True, help="Compute type."
)
@format_option
@dim_option
@shape_option
@passes_option
@click.option(
    "--fallback",
    type=click.Choice(["auto", "custom", "cut", "error"]),
    default="auto",
    show_default=True,
    help="What becomes of an op without a lowering.",
)
@own_option
@custom_layers_option
@click.option(
    "--coremltools-pipeline",
    type=click.Choice(["short", "default", "none"]),
    default="short",
    show_default=True,
    help="coremltools' own passes; six of its default ones change results.",
)
@click.option(
    "--verify/--no-verify", "verified", default=True, help="Compare the package with the model before it gets its name."
)
@json_option
def command(as_json: bool, **options: Any) -> None:
    """Convert MODEL to a Core ML package.

    Rewrites the graph first (see `coregraft passes`), decides precision in the graph, and writes the package whole or
    not at all. The same model and options give the same bytes.
    """

    def work() -> Outcome:
        with progress("converting", hidden=as_json):
            return convert(**options)

    finish("convert", as_json, work)


def convert(
    model: str,
    output: str,
    target: str,
    precision: Literal["fp16", "fp32"],
    format_: str,
    dims: tuple[str, ...],
    shapes: tuple[str, ...],
    passes: str | None,
    fallback: str,
    own: str | None,
    custom_layers: str | None,
    coremltools_pipeline: str,
    verified: bool,
) -> Outcome:
    from coregraft.cli.report import print_passes
    from coregraft.lowering import convert as lowering
    from coregraft.verification.gate import Gated, save_verified

    read_custom_layers(custom_layers)
    done = lowering.convert(
        model,
        target=target,
        precision=precision,
        format=format_,
        dims=parse_dims(dims),
        shapes=parse_shapes(shapes),
        passes=passes,
        fallback=fallback,
        own=parse_names(own),
        coremltools_pipeline=coremltools_pipeline,
    )
    gate = save_verified(model, done, output) if verified else Gated(tuple(done.save(output)), None, True)
    report = done.report
    written = [str(path) for path in gate.written]
    verification = None if gate.verification is None else gate.verification.as_dict()
    result = {"model": model, "written": written, **report.as_dict(), "verification": verification}

    def show() -> None:
        print_passes(report.passes)
        before, after, mil = (sum(c.values()) for c in (report.ops_before, report.ops_after, report.mil_ops))
        click.echo(
            f"{before} ONNX ops -> {after} after passes -> {mil} Core ML ops, "
            f"{report.weight_bytes / 1e6:.1f} MB of weights, {report.precision}, {target} {format_}"
        )
        for entry in report.fallbacks:
            click.echo(f"{entry['rung']}: " + ", ".join(f"{k} {v}" for k, v in entry.items() if k != "rung"))
        if gate.verification is not None:
            for c in gate.verification.outputs:
                figure = c.relative_l2 if c.relative_l2 is not None else c.mismatches
                click.echo(f"output {c.name}: {'ok' if c.ok else 'WRONG: ' + c.why} ({figure or 0:.2g})")
        for path in written:
            click.echo(f"wrote {path}")

    code = OK if gate.passed else FINDINGS
    return Outcome(result, show, code, warnings=[*report.warnings, *gate.warnings])
