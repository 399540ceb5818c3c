"""``coregraft check``: what will go wrong, by rule code, without changing anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from coregraft.cli.envelope import FINDINGS, OK, Outcome, finish, json_option, progress
from coregraft.cli.options import (
    dim_option,
    format_option,
    model_argument,
    parse_dims,
    parse_shapes,
    shape_option,
    target_option,
)

if TYPE_CHECKING:
    from coregraft.rewriter.contract import Finding

#: Ops listed for each rule unless all are asked for.
SHOWN = 5


@click.command("check", short_help="Find what will go wrong with a model on Apple hardware.")
@model_argument
@target_option
@format_option
@dim_option
@shape_option
@click.option("--select", multiple=True, metavar="CG1,CG301", help="Only codes that start with one of these.")
@click.option("--all", "every", is_flag=True, help="List every op, not the first few of each rule.")
@click.option("--ignore", multiple=True, metavar="CG207", help="No codes that start with one of these.")
@json_option
def command(
    model: str,
    target: str,
    format_: str,
    dims: tuple[str, ...],
    shapes: tuple[str, ...],
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    every: bool,
    as_json: bool,
) -> None:
    """Say what will go wrong when MODEL runs through Core ML, by rule code, and which pass mends it.

    Runs the default conversion pipeline in match-only mode, and rehearses the lowering of what it leaves: what
    convert would refuse is CG000. Exit code 1 when something was found.
    """

    def work() -> Outcome:
        with progress("checking", hidden=as_json):
            return check(model, target, format_, dims, shapes, _codes(select), _codes(ignore), every=every)

    finish("check", as_json, work)


def check(
    model: str,
    target: str,
    format_: str,
    dims: tuple[str, ...],
    shapes: tuple[str, ...],
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    *,
    every: bool = False,
) -> Outcome:
    from coregraft.lowering import targets
    from coregraft.lowering.rehearsal import refusals
    from coregraft.passes.pipelines import convert_pipeline
    from coregraft.rewriter.manager import PassManager
    from coregraft.rewriter.onnx_io.load import load
    from coregraft.rewriter.shapes.dims import pin_dims

    goal = targets.get(target, format_)
    graph = load(model)
    pin_dims(graph, parse_dims(dims), parse_shapes(shapes))
    manager = PassManager(convert_pipeline(goal, "fp16"), goal)
    found, rewritten = manager.check_and_run(graph)
    wanted = [
        f for f in found if (not select or f.code.startswith(select)) and not (ignore and f.code.startswith(ignore))
    ]
    refused = refusals(rewritten, goal)
    open_sizes = [e for e in refused if e.code == "dims-unpinned"]
    obstacles = [e for e in refused if e.code != "dims-unpinned"]
    result = {
        "model": model,
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
            shown = group if every else group[:SHOWN]
            for f in shown:
                click.echo(f"    {f.node}" + (f": {f.message}" if len(messages) > 1 else ""))
            if len(group) > len(shown):
                click.echo(f"    ... and {len(group) - len(shown)} more (--all)")
        for e in obstacles:
            where = "" if e.node is None or e.node in e.message else f"{e.node}: "
            click.echo(f"CG000  {e.code}\n    {where}{e.message}")
        counts = Counter(f.code for f in wanted)
        if obstacles:
            counts["CG000"] = len(obstacles)
        by_code = ", ".join(f"{code} x{n}" for code, n in sorted(counts.items()))
        click.echo(f"{counts.total()} finding(s) for {goal}{': ' + by_code if by_code else ''}", err=True)
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


def _codes(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(code.strip().upper() for text in texts for code in text.split(",") if code.strip())
