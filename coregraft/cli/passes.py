"""``coregraft passes``: list the passes and rules."""

from __future__ import annotations

from typing import Any

import click

from coregraft.cli.envelope import Outcome, console, finish, json_option


@click.command("passes", short_help="List the passes and rules.")
@click.argument("word", required=False)
@json_option
def command(word: str | None, as_json: bool) -> None:
    """List the passes and rules; with WORD those whose name, code or summary has it."""
    finish("passes", as_json, lambda: work(word))


def work(word: str | None) -> Outcome:
    from coregraft.passes import pipelines
    from coregraft.rewriter.registry import pass_class, pass_names, registry

    defaults = {spec.partition("{")[0] for spec in pipelines.default_names()}
    rows: list[dict[str, Any]] = []
    for name in pass_names():
        cls = pass_class(name)
        row = {
            "name": name,
            "code": cls.code or None,
            "equivalence": cls.equivalence.value,
            "default": name in defaults,
            "summary": cls.summary(),
            "provider": registry().items["passes"][name].distribution,
        }
        if word is None or word.lower() in f"{name} {cls.code} {cls.summary()}".lower():
            rows.append(row)

    def show() -> None:
        from rich.table import Table

        if not rows:
            click.echo(f'no pass has "{word}" in its name, code or summary')
            return
        table = Table("code", "name", "equivalence", "default", "what it does", box=None, pad_edge=False)
        for row in rows:
            default = "yes" if row["default"] else ""
            table.add_row(row["code"] or "", row["name"], row["equivalence"], default, row["summary"])
        console(160).print(table)

    return Outcome({"passes": rows}, show, warnings=list(registry().problems))
