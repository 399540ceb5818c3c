"""``coregraft cut``: ONNX to Core ML in parts."""

from __future__ import annotations

import re
import time
from typing import Any

import click

from coregraft.cli.envelope import FINDINGS, OK, Outcome, finish, json_option, progress
from coregraft.cli.options import (
    Source,
    check_output,
    output_option,
    own_option,
    parse_names,
    passes_option,
    precision_option,
    source_options,
    target_option,
)

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


@click.command("cut", short_help="Convert a model in parts.")
@source_options
@output_option("The folder, NAME.parts.")
@click.option("--at", "at", multiple=True, metavar="VALUE[,VALUE…]", help="Cut at values of the model. Repeatable.")
@click.option("--max-bytes", metavar="900MB", help="Most bytes of constants in a part (Neural Engine: 900MB, CG702).")
@own_option
@target_option
@precision_option("fp16")
@passes_option
@click.option(
    "--verify/--no-verify", "verified", default=True, help="Compare the parts with the model before they get the name."
)
@json_option
def command(as_json: bool, **options: Any) -> None:
    """Convert MODEL to packages that are run one after the other, and the manifest and Swift code that do it.

    Cuts around ops that Core ML lacks or that --own names, at the values named by --at, and wherever a part would be
    larger than --max-bytes; always where the fewest bytes are handed over.
    """

    def work() -> Outcome:
        with progress("cutting", hidden=as_json):
            return cut(**options)

    finish("cut", as_json, work)


def cut(
    source: Source,
    output: str,
    at: tuple[str, ...],
    max_bytes: str | None,
    own: tuple[str, ...],
    target: str,
    precision: str,
    passes: str | None,
    verified: bool,
) -> Outcome:
    from coregraft.cli.report import print_conversion, print_gate, print_some, size_text
    from coregraft.custom_layers import bundle
    from coregraft.verification.gate import Gated, save_verified

    started = time.perf_counter()
    check_output(output, bundle.SUFFIX, ".mlpackage")
    done = bundle.cut(
        source.path,
        at=parse_names("--at", at),
        max_bytes=None if max_bytes is None else parse_bytes(max_bytes),
        own=parse_names("--own", own),
        target=target,
        precision=precision,
        passes=passes,
        **source.sizes(),
    )
    gate = save_verified(source.path, done, output) if verified else Gated(tuple(done.save(output)), None, True)
    seconds = time.perf_counter() - started
    found = done.cut
    steps = [
        {
            "name": step.name,
            "kind": "custom" if where.custom else "core-ml",
            "ops": len(where.ops),
            "constant_bytes": sum(c.nbytes for v in step.graph.values() if (c := step.graph.const(v)) is not None),
        }
        for step, where in zip(done.steps, found.steps, strict=True)
    ]
    verification = None if gate.verification is None else gate.verification.as_dict()
    result = {
        "model": source.path,
        "written": [str(path) for path in gate.written],
        "steps": steps,
        "crossing": dict(found.crossing),
        "crossing_bytes": found.bytes,
        "repeated_constant_bytes": sum(found.repeated.values()),
        "fallbacks": [dict(entry) for entry in done.report.fallbacks],
        "verification": verification,
    }

    def show() -> None:
        print_conversion(done.report)
        for step in steps:
            weights = f"{size_text(int(str(step['constant_bytes'])))} of constants"
            click.echo(f"{step['name']}: {step['kind']}, {step['ops']} op(s), {weights}")
        print_some([f"handed over: {value}, {size_text(bytes_)}" for value, bytes_ in found.crossing.items()])
        print_gate(gate, source.path, seconds)

    return Outcome(result, show, OK if gate.passed else FINDINGS, warnings=[*done.report.warnings, *gate.warnings])


def parse_bytes(text: str) -> int:
    """A size such as ``900MB`` or ``1.5 GB``, in powers of ten.

    Raises:
        UsageError: ``cut-size``.
    """
    from coregraft.rewriter.errors import UsageError

    match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?)\s*([KMG]?)B?", text.strip(), re.IGNORECASE)
    if match is None:
        raise UsageError("cut-size", f'"{text}" is not a size', hint="write --max-bytes 900MB")
    return int(float(match[1]) * _UNITS[match[2].upper()])
