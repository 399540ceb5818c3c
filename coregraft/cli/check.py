"""``coregraft check``: what will go wrong, by rule code, without changing anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from coregraft.cli.envelope import FINDINGS, OK, Outcome, finish, json_option, progress
from coregraft.cli.options import Source, format_option, parse_names, source_options, target_option

if TYPE_CHECKING:
    from coregraft.rewriter.contract import Finding
    from coregraft.rewriter.errors import UnsupportedError

#: Code of what a conversion refuses.
REFUSED = "CG000"
#: Ops listed for each rule unless all are asked for.
SHOWN = 5


@click.command("check", short_help="Find what will go wrong with a model on Apple hardware.")
@source_options
@target_option
@format_option("mlprogram")
@click.option("--select", multiple=True, metavar="CG1,CG301", help="Only codes that start with one of these.")
@click.option("--ignore", multiple=True, metavar="CG207", help="No codes that start with one of these.")
@click.option("--all", "every", is_flag=True, help="List every op, not the first few of each rule.")
@json_option
def command(
    source: Source,
    target: str,
    format_: str,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    every: bool,
    as_json: bool,
) -> None:
    """Say what will go wrong when MODEL runs through Core ML, by rule code, and which pass mends it.

    Runs the default conversion pipeline in match-only mode, and rehearses the lowering: CG000 is what `convert` cannot
    do by itself. Exit code 1 when something was found.
    """

    def work() -> Outcome:
        with progress("checking", hidden=as_json):
            codes = parse_codes("--select", select), parse_codes("--ignore", ignore)
            return check(source, target, format_, *codes, every=every)

    finish("check", as_json, work)


def check(
    source: Source,
    target: str,
    format_: str,
    select: tuple[str, ...] = (),
    ignore: tuple[str, ...] = (),
    *,
    every: bool = False,
) -> Outcome:
    from coregraft.lowering import targets
    from coregraft.lowering.rehearsal import refusals
    from coregraft.passes.pipelines import convert_pipeline
    from coregraft.rewriter.manager import PassManager

    goal = targets.get(target, format_)

    def is_wanted(code: str) -> bool:
        return (not select or code.startswith(select)) and not code.startswith(ignore)

    found, rewritten = PassManager(convert_pipeline(goal, "fp16"), goal).check_and_run(source.load())
    wanted = [f for f in found if is_wanted(f.code)]
    refused = refusals(rewritten, goal)
    open_sizes = [e for e in refused if e.code == "dims-unpinned"]
    obstacles = [e for e in refused if e.code != "dims-unpinned" and is_wanted(REFUSED)]
    result = {
        "model": source.path,
        "target": str(goal),
        "findings": [
            {"code": f.code, "rule": f.pass_name, "node": f.node, "message": f.message, "fix": f"pass {f.pass_name}"}
            for f in wanted
        ],
        "refusals": [e.as_dict() for e in obstacles],
    }

    def show() -> None:
        for (code, rule), group in grouped(wanted).items():
            messages = list(dict.fromkeys(f.message for f in group))
            click.echo(f"{code}  {rule}  x{len(group)}" + (f"  {messages[0]}" if len(messages) == 1 else ""))
            _list([f"{f.node}: {f.message}" if len(messages) > 1 else f.node for f in group], every)
        for (code, hint), lines in _refusals(obstacles).items():
            click.echo(f"{REFUSED}  {code}  x{len(lines)}")
            _list(lines, every)
            if hint:
                click.echo(f"    hint: {hint}")
        counts = Counter(f.code for f in wanted)
        if obstacles:
            counts[REFUSED] = len(obstacles)
        by_code = ", ".join(f"{code} x{n}" for code, n in sorted(counts.items()))
        click.echo(f"{counts.total()} finding(s) for {goal}{': ' + by_code if by_code else ''}", err=True)
        if any(e.code == "op-no-lowering" for e in obstacles):
            taken = "makes custom layers of" if goal.format == "neuralnetwork" else "cuts the model around"
            click.echo(f"`coregraft convert` {taken} such ops; `coregraft explain {REFUSED}` says more.", err=True)
        if wanted:
            click.echo("`coregraft explain CODE` says why it matters; `coregraft convert` mends them.", err=True)

    warnings = [f"what convert refuses is told in full once sizes are known: {e.message}; {e.hint}" for e in open_sizes]
    return Outcome(result, show, FINDINGS if wanted or obstacles else OK, warnings)


def grouped(findings: Sequence[Finding]) -> dict[tuple[str, str], list[Finding]]:
    """The findings by code and rule, in order of the codes."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for f in findings:
        groups.setdefault((f.code, f.pass_name), []).append(f)
    return dict(sorted(groups.items()))


def _refusals(errors: Sequence[UnsupportedError]) -> dict[tuple[str, str | None], list[str]]:
    """What is refused, by code and hint, each with where it is."""
    groups: dict[tuple[str, str | None], list[str]] = {}
    for e in errors:
        where = "" if e.node is None or e.node in e.message else f"{e.node}: "
        groups.setdefault((e.code, e.hint), []).append(where + e.message)
    return groups


def _list(lines: Sequence[str], every: bool) -> None:
    shown = lines if every else lines[:SHOWN]
    for line in shown:
        click.echo(f"    {line}")
    if len(lines) > len(shown):
        click.echo(f"    ... and {len(lines) - len(shown)} more (--all)")


def parse_codes(option: str, texts: tuple[str, ...]) -> tuple[str, ...]:
    """Codes, or beginnings of codes, of texts with commas.

    Raises:
        UsageError: ``rule-unknown`` for one that no rule's code starts with: it would hide everything, or nothing;
            ``option-empty``.
    """
    from coregraft.rewriter.errors import UsageError
    from coregraft.rewriter.registry import pass_class, pass_names

    wanted = tuple(code.upper() for code in parse_names(option, texts))
    known = {REFUSED, *(pass_class(name).code for name in pass_names())} if wanted else set()
    for code in wanted:
        if not any(c.startswith(code) for c in known):
            raise UsageError("rule-unknown", f"no rule's code starts with {code}", hint="`coregraft passes` lists them")
    return wanted
