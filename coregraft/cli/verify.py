"""``coregraft verify``: does a package compute what the model computes?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coregraft.cli.envelope import FINDINGS, OK, Outcome, console, finish, json_option, progress
from coregraft.cli.options import model_argument

if TYPE_CHECKING:
    from coregraft.verification.result import Verification


@click.command("verify", short_help="Compare a package with the model it was made from.")
@model_argument
@click.argument("package", type=click.Path(path_type=str))
@click.option("--inputs", metavar="FILE.npz", help="Inputs by name, in place of seeded draws.")
@click.option("--draws", default=3, show_default=True, help="How many seeded draws.")
@click.option("--seed", default=0, show_default=True, help="Seed of the first draw.")
@click.option("--tolerance", type=float, help="Relative L2 allowed; default 1e-4 for fp32, 2e-2 for fp16 packages.")
@click.option("--layers/--no-layers", default=True, help="Compare values inside, too.")
@click.option(
    "--device", "devices", multiple=True, help="Also run in Core ML itself on cpu, gpu, ane or all (macOS). Repeatable."
)
@click.option("--plot", metavar="FILE.svg", help="Plot the drift per layer.")
@json_option
def command(
    model: str,
    package: str,
    inputs: str | None,
    draws: int,
    seed: int,
    tolerance: float | None,
    layers: bool,
    devices: tuple[str, ...],
    plot: str | None,
    as_json: bool,
) -> None:
    """Run MODEL in onnxruntime and PACKAGE lifted back to ONNX, and compare every output and layer.

    Exit code 1 when an output is out of tolerance.
    """

    def work() -> Outcome:
        from coregraft.verification.compare import Tolerance
        from coregraft.verification.parts import is_parts, verify_parts
        from coregraft.verification.verify import verify

        options: dict[str, Any] = {
            "inputs": read_inputs(inputs) if inputs else None,
            "draws": draws,
            "seed": seed,
            "tolerance": Tolerance(tolerance) if tolerance is not None else None,
        }
        with progress("verifying", hidden=as_json):
            if is_parts(package):
                done = verify_parts(model, package, **options)
            else:
                done = verify(model, package, layers=layers, devices=devices, **options)
            if plot and done.drift is not None:
                from coregraft.verification.plot import svg

                write_text(plot, svg(done.drift, done.tolerance))
        return Outcome(
            {"model": model, "package": package, **done.as_dict()},
            lambda: show(done),
            OK if done.ok else FINDINGS,
            warnings=list(done.warnings),
        )

    finish("verify", as_json, work)


def read_inputs(path: str) -> dict[str, Any]:
    """The arrays of an ``.npz`` file.

    Raises:
        InputError: ``inputs-unreadable``.
    """
    import zipfile

    import numpy as np

    from coregraft.rewriter.errors import InputError

    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError("inputs-unreadable", f"not an .npz file of arrays: {error}", node=path) from error


def write_text(path: str, text: str) -> None:
    """Write a text file.

    Raises:
        UsageError: ``output-unwritable``.
    """
    from coregraft.rewriter.errors import UsageError

    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError("output-unwritable", f"cannot write: {error.strerror}", node=path) from error


def show(done: Verification) -> None:
    """The outcome for a person: outputs, then where the error grows."""
    from rich.table import Table

    drawn = ", ".join(f"{name}: {kind}" for name, kind in done.inputs.items())
    click.echo(f"{done.precision}; relative L2 <= {done.tolerance.relative_l2:g} allowed; inputs {drawn}")
    table = Table("output", "", "relative L2", "max abs", "SNR dB", "cosine", "argmax", box=None, pad_edge=False)
    for c in done.outputs:
        error = c.relative_l2 if c.relative_l2 is not None else c.mismatches
        figures = (error, c.max_abs, c.snr_db, c.cosine, c.argmax_agreement)
        table.add_row(c.name, "ok" if c.ok else "WRONG", *(_g(figure) for figure in figures))
    for device, found in done.devices.items():
        for c in found:
            figures = (c.relative_l2, c.max_abs, c.snr_db, c.cosine, c.argmax_agreement)
            table.add_row(f"{c.name} on {device}", "ok" if c.ok else "WRONG", *(_g(figure) for figure in figures))
    console(140).print(table)
    for c in done.outputs:
        if c.why:
            click.echo(f"  {c.name}: {c.why}")
    if done.drift is None:
        return
    first = done.drift.first
    if first is not None:
        click.echo(f'first layer out of tolerance: {first.op}, value "{first.value}": {first.comparison.why}')
    worst = sorted(
        (x for x in done.drift.layers if x.comparison.relative_l2), key=lambda x: -(x.comparison.relative_l2 or 0)
    )[:10]
    table = Table("layer", "value", "relative L2", "growth", box=None, pad_edge=False)
    for layer in worst:
        table.add_row(layer.op, layer.value, _g(layer.comparison.relative_l2), _g(layer.growth))
    if worst:
        compared, other = len(done.drift.layers), done.drift.unmatched
        click.echo(f"largest drift of {compared} compared values ({other} not in the package):")
        console(140).print(table)


def _g(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
