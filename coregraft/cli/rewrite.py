"""``coregraft rewrite``: ONNX to ONNX."""

from __future__ import annotations

import click

from coregraft.cli.envelope import Outcome, finish, json_option, progress
from coregraft.cli.options import (
    dim_option,
    model_argument,
    parse_dims,
    parse_shapes,
    passes_option,
    shape_option,
)


@click.command("rewrite", short_help="Rewrite an ONNX model, ONNX to ONNX.")
@model_argument
@click.option("-o", "--output", required=True, type=click.Path(path_type=str), help="The rewritten .onnx file.")
@passes_option
@click.option("--target", metavar="iOS17", help="Target that passes ask what it supports; default: none in particular.")
@dim_option
@shape_option
@click.option("--checked", is_flag=True, help="Check structure and numbers after every pass (slow).")
@click.option("--reproducer", metavar="DIR", help="Where a failing pass leaves its reproducer bundle.")
@click.option("--diff", "show_diff", is_flag=True, help="Print what changed as a text diff.")
@json_option
def command(
    model: str,
    output: str,
    passes: str | None,
    target: str | None,
    dims: tuple[str, ...],
    shapes: tuple[str, ...],
    checked: bool,
    reproducer: str | None,
    show_diff: bool,
    as_json: bool,
) -> None:
    """Rewrite MODEL with the default pipeline, or with --passes, and save it as ONNX."""

    def work() -> Outcome:
        with progress("rewriting", hidden=as_json) as say:
            return rewrite(model, output, passes, target, dims, shapes, checked, reproducer, show_diff, say)

    finish("rewrite", as_json, work)


def rewrite(
    model: str,
    output: str,
    passes: str | None,
    target: str | None,
    dims: tuple[str, ...],
    shapes: tuple[str, ...],
    checked: bool,
    reproducer: str | None,
    show_diff: bool,
    say: object,
) -> Outcome:
    from coregraft.cli.report import pass_rows, print_passes
    from coregraft.passes.pipelines import rewrite_pipeline
    from coregraft.rewriter.manager import PassManager
    from coregraft.rewriter.onnx_io.load import load
    from coregraft.rewriter.onnx_io.save import save
    from coregraft.rewriter.shapes.dims import pin_dims
    from coregraft.rewriter.target import Target

    goal = Target.any()
    if target is not None:
        from coregraft.lowering import targets

        goal = targets.get(target, "mlprogram")
    sizes, fixed = parse_dims(dims), parse_shapes(shapes)
    manager = PassManager(
        passes if passes is not None else rewrite_pipeline(), goal, checked=checked, reproducer_dir=reproducer
    )
    if callable(say):
        manager.after_pass = lambda report, _: say(f"rewriting: {report.spec}")
    before = load(model)
    if sizes or fixed:
        pin_dims(before, sizes, fixed)
    done = manager.run(before)
    save(done.graph, output)
    text = ""
    if show_diff:
        from coregraft.rewriter.onnx_io.text import diff

        text = diff(before, done.graph)
    result = {"model": model, "output": output, "pipeline": str(manager), "passes": pass_rows(done.reports)}
    if show_diff:
        result["diff"] = text

    def show() -> None:
        if text:
            click.echo(text, nl=False)
        print_passes(done.reports)
        click.echo(f"wrote {output}")

    return Outcome(result, show)
