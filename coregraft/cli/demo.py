"""``coregraft demo``: the whole way, on a network that is built on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coregraft.cli.envelope import Outcome, console, finish, json_option

if TYPE_CHECKING:
    from coregraft.rewriter.graph import Graph
    from coregraft.rewriter.manager import PassReport


@click.command("demo", short_help="Show everything on a small network that needs no download.")
@click.option(
    "--output", default="coregraft-demo", show_default=True, help="Folder for the files it writes."
)
@json_option
def command(output: str, as_json: bool) -> None:
    """Build a small network with everything that goes wrong, check it, rewrite it and convert it."""
    finish("demo", as_json, lambda: demo(output))


def demo(output: str) -> Outcome:
    from coregraft.cli.check import check
    from coregraft.cli.demo_model import demo_model
    from coregraft.cli.options import Source, check_folder
    from coregraft.lowering.convert import convert
    from coregraft.passes.pipelines import convert_pipeline
    from coregraft.rewriter.errors import UnsupportedError
    from coregraft.rewriter.onnx_io.save import save
    from coregraft.rewriter.target import Target

    check_folder(output)
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "demo.onnx"
    plain = folder / "demo-supported.onnx"
    save(demo_model(), model)
    save(demo_model(with_unsupported=False), plain)

    checked = check(Source(str(model)), "iOS17", "mlprogram")
    refused = ""
    try:
        convert(model, fallback="error")
    except UnsupportedError as error:
        refused = str(error)
    network = convert(model, format="neuralnetwork")
    written = [model, plain, *network.save(folder / "demo.mlmodel")]
    program = convert(plain)
    written += program.save(folder / "demo-supported.mlpackage")
    dilated = _dilated(demo_model())
    result = {
        "findings": checked.result["findings"],
        "refused": refused,
        "passes": [{"pass": r.spec, "ops_before": r.ops_before, "ops_after": r.ops_after} for r in _changed(program)],
        "dilated": dilated,
        "ops": {
            "onnx": sum(program.report.ops_before.values()),
            "after_passes": sum(program.report.ops_after.values()),
            "core_ml": sum(program.report.mil_ops.values()),
        },
        "written": [str(p) for p in written],
        "pipeline": convert_pipeline(Target.any(), "fp16"),
    }

    def show() -> None:
        _title("1. check: what will go wrong with demo.onnx on a phone")
        checked.show()
        _title("2. convert to an ML Program: refused; one op has no lowering, and ML Programs have no custom layers")
        click.echo(refused)
        _title("3. convert to a neural network: that op becomes a custom layer, with a Swift class to fill in")
        for entry in network.report.fallbacks:
            click.echo("  " + ", ".join(f"{k}: {v}" for k, v in entry.items()))
        _title("4. the same network without that op, as a half-precision ML Program: what each pass did")
        from coregraft.cli.report import print_passes

        print_passes(program.report.passes)
        _title("5. where memory and ops went")
        _print_dilated(dilated)
        ops = result["ops"]
        assert isinstance(ops, dict)
        click.echo(
            f"\nops: {ops['onnx']} in the ONNX model, {ops['after_passes']} after the passes, "
            f"{ops['core_ml']} in Core ML; weights: {program.report.weight_bytes / 1e3:.0f} kB in half precision"
        )
        _title("6. files")
        for path in written:
            click.echo(f"  {path}")

    return Outcome(result, show)


def _title(text: str) -> None:
    click.echo(f"\n{text}\n{'-' * len(text)}")


def _changed(done: Any) -> list[PassReport]:
    return [r for r in done.report.passes if r.changed]


def _dilated(g: Graph) -> list[dict[str, Any]]:
    """Weights of each dilated convolution, as they are and with the gaps filled by zeros, in bytes at fp16."""
    rows = []
    for _, op in sorted(g.ops()):
        dilations = op.attrs.get("dilations", ())
        const = g.const(op.inputs[1]) if op.type == "Conv" else None
        if const is None or max(dilations, default=1) == 1:
            continue
        out, per_group, *kernel = const.shape
        extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        taps, filled = 1, 1
        for k, e in zip(kernel, extents, strict=True):
            taps, filled = taps * k, filled * e
        rows.append(
            {
                "node": op.name,
                "dilation": dilations[0],
                "weight_bytes": 2 * out * per_group * taps,
                "zero_filled_bytes": 2 * out * per_group * filled,
                "ratio": filled / taps,
            }
        )
    return rows


def _print_dilated(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    headings = ("dilated convolution", "dilation", "weights", "with zeros filled in", "ratio")
    table = Table(*headings, box=None, pad_edge=False)
    for r in rows:
        sizes = [f"{r[k] / 1e3:.1f} kB" for k in ("weight_bytes", "zero_filled_bytes")]
        table.add_row(r["node"], str(r["dilation"]), *sizes, f"{r['ratio']:.0f}x")
    console(120).print(table)
    click.echo("Filled kernels are what a backend without a dilated kernel is believed to make (H1.01; not measured).")
    click.echo("After replace-dilated-conv every convolution is an ordinary one: its weights are all there is.")
