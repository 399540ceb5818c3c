"""Reports of passes and conversions for people and for the envelope."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from coregraft.lowering.program import Feature
    from coregraft.lowering.report import ConversionReport
    from coregraft.rewriter.manager import PassReport
    from coregraft.verification.gate import Gated
    from coregraft.verification.result import Verification

#: Notes of a pass, and features of a model, that are printed; ``--json`` has all.
SHOWN = 8


def pass_rows(reports: Sequence[PassReport]) -> list[dict[str, Any]]:
    """The passes that ran, as JSON values; CPU times are left out, so that it is the same on every run."""
    return [
        {
            "pass": r.spec,
            "changed": r.changed,
            "ops_before": r.ops_before,
            "ops_after": r.ops_after,
            "events": dict(sorted(r.events.items())),
            "counts": dict(sorted(r.counts.items())),
            "notes": list(r.notes),
        }
        for r in reports
    ]


def print_passes(reports: Sequence[PassReport]) -> None:
    """A table of the passes that changed something."""
    from rich.table import Table

    from coregraft.cli.envelope import console

    changed = [r for r in reports if r.changed]
    if not changed:
        click.echo("no pass changed anything")
        return
    table = Table("pass", "ops", "rewrites", "CPU s", box=None, pad_edge=False)
    for r in changed:
        counts = {k: v for k, v in sorted(r.counts.items()) if k != "rewrites"}
        fired = ", ".join(f"{k} {v}" for k, v in counts.items())
        table.add_row(r.spec, f"{r.ops_before} -> {r.ops_after}", fired, f"{r.seconds:.2f}")
    console(140).print(table)
    for r in changed:
        print_some([f"  {r.spec}: {note}" for note in r.notes])


def print_some(lines: Sequence[str]) -> None:
    """Print the first few lines, and how many there are besides."""
    for line in lines[:SHOWN]:
        click.echo(line)
    if len(lines) > SHOWN:
        indent = lines[0][: len(lines[0]) - len(lines[0].lstrip())]
        click.echo(f"{indent}... and {len(lines) - SHOWN} more (--json has all)")


def print_conversion(report: ConversionReport) -> None:
    """What a conversion did: passes, sizes, what became of ops without a lowering, and what the app sees."""
    print_passes(report.passes)
    before, after, mil = (sum(c.values()) for c in (report.ops_before, report.ops_after, report.mil_ops))
    click.echo(
        f"{before} ONNX ops -> {after} after passes -> {mil} Core ML ops, "
        f"{size_text(report.weight_bytes)} of weights, {report.precision}, {report.target} {report.format}"
    )
    print_some([
        f"{entry['rung']}: " + ", ".join(f"{k} {v}" for k, v in entry.items() if k != "rung")
        for entry in report.fallbacks
    ])  # fmt: skip
    print_features("input", report.inputs)
    print_features("output", report.outputs)


def print_gate(gate: Gated, model: str, seconds: float) -> None:
    """What became of a package: how near it is to its model, and where it is."""
    if gate.verification is not None:
        print_verification(gate.verification)
    print_written(gate.written)
    if not gate.passed:
        click.echo(
            f"the package computes something else, so it did not get its name: `coregraft verify {model} "
            f"{gate.written[0]}` shows where, `coregraft reduce {model} -o DIR` finds the ops that do it",
            err=True,
        )
    click.echo(f"took {seconds:.1f} s", err=True)


def print_written(paths: Iterable[str | Path]) -> None:
    """The files and folders that were written, and how large they are."""
    for path in paths:
        click.echo(f"wrote {path} ({size_text(size_of(path))})")


def print_features(side: str, features: Iterable[Feature]) -> None:
    """The inputs or outputs of a package: what the app sees."""
    lines = []
    for f in features:
        shape = "of a size that depends on the data" if f.shape is None else str(list(f.shape))
        model = f" ({f.name} in the model)" if f.name != f.feature else ""
        lines.append(f"{side} {f.feature}: {f.dtype.name.lower()} {shape}{model}")
    print_some(lines)


def print_verification(found: Verification) -> None:
    """How near each output is to the model's, in a line each."""
    lines = []
    for c in found.outputs:
        error = f"relative L2 {c.relative_l2:.2g}" if c.relative_l2 is not None else f"{c.mismatches or 0:.2%} differ"
        lines.append(f"  {c.name}: " + (f"ok, {error}" if c.ok else f"WRONG: {c.why}"))
    click.echo(
        "compared with the model in onnxruntime, on seeded inputs; allowed is a relative L2 of "
        f"{found.tolerance.relative_l2:g}:"
    )
    print_some(sorted(lines, key=lambda line: "WRONG" not in line))


def size_of(path: str | Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    path = Path(path)
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def size_text(bytes_: int) -> str:
    """A number of bytes for people, in powers of ten: ``1.3 MB``."""
    size = float(bytes_)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
