"""Reports of passes and conversions for people and for the envelope."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from coregraft.rewriter.manager import PassReport


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
        for note in r.notes:
            click.echo(f"  {r.spec}: {note}")
