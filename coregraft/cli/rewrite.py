"""``coregraft rewrite``: ONNX to ONNX."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import click

from coregraft.cli.envelope import Outcome, finish, json_option, progress
from coregraft.cli.options import Source, check_output, output_option, passes_option, source_options


@click.command("rewrite", short_help="Rewrite an ONNX model, ONNX to ONNX.")
@source_options
@output_option("The rewritten .onnx file.")
@passes_option
@click.option("--target", metavar="iOS17", help="Target that passes ask what it supports; default: none in particular.")
@click.option("--checked", is_flag=True, help="Check structure and numbers after every pass (slow).")
@click.option("--reproducer", metavar="DIR", help="Where a failing pass leaves its reproducer bundle.")
@click.option("--diff", "show_diff", is_flag=True, help="Print what changed as a text diff.")
@json_option
def command(as_json: bool, **options: Any) -> None:
    """Rewrite MODEL with the default pipeline, or with --passes, and save it as ONNX."""

    def work() -> Outcome:
        with progress("rewriting", hidden=as_json) as say:
            return rewrite(**options, say=say)

    finish("rewrite", as_json, work)


def rewrite(
    source: Source,
    output: str,
    passes: str | None,
    target: str | None,
    checked: bool,
    reproducer: str | None,
    show_diff: bool,
    say: Callable[[str], None],
) -> Outcome:
    from coregraft.cli.report import pass_rows, print_passes, print_written
    from coregraft.passes.pipelines import rewrite_pipeline
    from coregraft.rewriter.manager import PassManager
    from coregraft.rewriter.onnx_io.save import save
    from coregraft.rewriter.target import Target

    started = time.perf_counter()
    check_output(output, ".onnx")
    goal = Target.any()
    if target is not None:
        from coregraft.lowering import targets

        goal = targets.get(target, "mlprogram")
    manager = PassManager(
        passes if passes is not None else rewrite_pipeline(), goal, checked=checked, reproducer_dir=reproducer
    )
    manager.after_pass = lambda report, _: say(f"rewriting: {report.spec}")
    before = source.load()
    done = manager.run(before)
    written = save(done.graph, output)
    text = ""
    if show_diff:
        from coregraft.rewriter.onnx_io.text import diff

        text = diff(before, done.graph)
    result = {
        "model": source.path,
        "output": output,
        "written": [str(path) for path in written],
        "pipeline": str(manager),
        "passes": pass_rows(done.reports),
    }
    if show_diff:
        result["diff"] = text
    seconds = time.perf_counter() - started

    def show() -> None:
        if text:
            click.echo(text, nl=False)
        print_passes(done.reports)
        click.echo(f"{sum(1 for _ in before.ops())} ops -> {sum(1 for _ in done.graph.ops())}")
        print_written(written)
        click.echo(f"took {seconds:.1f} s", err=True)

    return Outcome(result, show)
