"""``coregraft convert``: ONNX to a Core ML package."""

from __future__ import annotations

import time
from typing import Any, Literal

import click

from coregraft.cli.envelope import FINDINGS, OK, Outcome, finish, json_option, progress
from coregraft.cli.options import (
    Source,
    check_output,
    format_option,
    output_option,
    own_option,
    parse_names,
    passes_option,
    precision_option,
    source_options,
    target_option,
)


@click.command("convert", short_help="Convert an ONNX model to a Core ML package.")
@source_options
@output_option("The .mlpackage, or .mlmodel of a neuralnetwork.")
@target_option
@precision_option("fp16")
@format_option("mlprogram")
@passes_option
@click.option(
    "--fallback",
    type=click.Choice(["auto", "custom", "cut", "error"]),
    default="auto",
    show_default=True,
    help="What becomes of an op without a lowering.",
)
@own_option
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
    source: Source,
    output: str,
    target: str,
    precision: Literal["fp16", "fp32"],
    format_: str,
    passes: str | None,
    fallback: str,
    own: tuple[str, ...],
    coremltools_pipeline: str,
    verified: bool,
) -> Outcome:
    from coregraft.cli.report import print_conversion, print_gate
    from coregraft.lowering import convert as lowering
    from coregraft.lowering.package import SUFFIXES
    from coregraft.verification.gate import Gated, save_verified

    started = time.perf_counter()
    check_output(output, SUFFIXES[format_], *([".parts"] if format_ == "mlprogram" else []))
    done = lowering.convert(
        source.path,
        target=target,
        precision=precision,
        format=format_,
        passes=passes,
        fallback=fallback,
        own=parse_names("--own", own),
        coremltools_pipeline=coremltools_pipeline,
        **source.sizes(),
    )
    gate = save_verified(source.path, done, output) if verified else Gated(tuple(done.save(output)), None, True)
    seconds = time.perf_counter() - started
    report = done.report
    verification = None if gate.verification is None else gate.verification.as_dict()
    result = {
        "model": source.path,
        "written": [str(path) for path in gate.written],
        **report.as_dict(),
        "verification": verification,
    }

    def show() -> None:
        print_conversion(report)
        print_gate(gate, source.path, seconds)

    return Outcome(result, show, OK if gate.passed else FINDINGS, warnings=[*report.warnings, *gate.warnings])
