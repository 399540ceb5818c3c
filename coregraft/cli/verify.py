"""``coregraft verify``: does a package compute what the model computes?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coregraft.cli.envelope import FINDINGS, OK, Outcome, console, finish, json_option, progress
from coregraft.cli.options import check_output, custom_layers_option, model_argument, register_layers
from coregraft.rewriter.errors import UsageError

if TYPE_CHECKING:
    from coregraft.verification.drift import Drift
    from coregraft.verification.result import Verification


@click.command("verify", short_help="Compare a package with the model it was made from.")
@model_argument
@click.argument("package", type=click.Path(path_type=str))
@click.option("--inputs", metavar="FILE.npz", help="Inputs by name, in place of seeded draws.")
@custom_layers_option
@click.option("--draws", type=click.IntRange(1, 1000), default=3, show_default=True, help="How many seeded draws.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the first draw.")
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
    custom_layers: str | None,
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
        from coregraft.verification.verify import verify

        register_layers(custom_layers)
        if plot is not None:
            check_output(plot, ".svg")
            if not layers:
                raise UsageError("plot-unavailable", "a plot shows layers, which --no-layers leaves out")
        with progress("verifying", hidden=as_json):
            done = verify(
                model,
                package,
                inputs=read_inputs(inputs) if inputs is not None else None,
                draws=draws,
                layers=layers,
                tolerance=Tolerance(tolerance) if tolerance is not None else None,
                seed=seed,
                devices=devices,
            )
            if plot is not None:
                write_plot(plot, done)
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
    except OSError as error:
        raise InputError("inputs-unreadable", f"cannot be read: {error.strerror or error}", node=path) from error
    except (ValueError, AttributeError, EOFError, zipfile.BadZipFile) as error:  # pickles; one array; nothing; broken
        raise InputError(
            "inputs-unreadable", "this is not an .npz file of plain arrays", node=path,
            hint="numpy.savez(FILE, name=array, ...) writes one",
        ) from error  # fmt: skip


def write_plot(path: str, done: Verification) -> None:
    """Write the drift per layer as SVG.

    Raises:
        UsageError: ``plot-unavailable``; ``output-unwritable``.
    """
    from coregraft.verification.plot import svg

    if done.drift is None:
        text = "a plot shows layers, and none are compared of a package whose ops the app runs"
        raise UsageError("plot-unavailable", text)
    try:
        Path(path).write_text(svg(done.drift, done.tolerance), encoding="utf-8")
    except OSError as error:
        raise UsageError("output-unwritable", f"cannot write: {error.strerror}", node=path) from error


def show(done: Verification) -> None:
    """The outcome for a person: outputs, then where the error grows."""
    from rich.table import Table

    drawn = ", ".join(f"{name}: {kind}" for name, kind in done.inputs.items())
    click.echo(f"{done.precision}; relative L2 <= {done.tolerance.relative_l2:g} allowed; inputs {drawn}")
    table = Table("output", "", "relative L2", "max abs", "SNR dB", "cosine", "argmax", box=None, pad_edge=False)
    rows = [(c.name, c) for c in done.outputs]
    rows += [(f"{c.name} on {device}", c) for device, found in done.devices.items() for c in found]
    for name, c in rows:
        error = c.relative_l2 if c.relative_l2 is not None else c.mismatches
        figures = (error, c.max_abs, c.snr_db, c.cosine, c.argmax_agreement)
        table.add_row(name, "ok" if c.ok else "WRONG", *(_g(figure) for figure in figures))
    console(140).print(table)
    for name, c in rows:
        if c.why:
            click.echo(f"  {name}: {c.why}")
    if done.drift is not None:
        _show_drift(done.drift)
    if done.ok:
        click.echo("within tolerance: on these inputs the package computes what the model computes")
    else:
        click.echo("out of tolerance: the package computes something else than the model")


def _show_drift(drift: Drift) -> None:
    """The first layer that is wrong, and the ten that are furthest off."""
    from rich.table import Table

    first = drift.first
    if first is not None:
        click.echo(f'first layer out of tolerance: {first.op}, value "{first.value}": {first.comparison.why}')
    worst = sorted(
        (x for x in drift.layers if x.comparison.relative_l2), key=lambda x: -(x.comparison.relative_l2 or 0)
    )[:10]
    table = Table("layer", "value", "relative L2", "growth", box=None, pad_edge=False)
    for layer in worst:
        table.add_row(layer.op, layer.value, _g(layer.comparison.relative_l2), _g(layer.growth))
    if worst:
        compared, other = len(drift.layers), drift.unmatched
        click.echo(f"largest drift of {compared} compared values ({other} not in the package):")
        console(140).print(table)


def _g(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
