"""Running a package in Core ML itself: on macOS, in a child process, one compute unit at a time.

A child, since Core ML can take a process down with it (coremltools issue 2758). Nothing here has been run on a device
by us: the tests replace the child.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from coregraft.rewriter.errors import UnsupportedError, UsageError
from coregraft.rewriter.types import Array

#: Names of ours -> names of coremltools' ``ComputeUnit``.
UNITS = {"cpu": "CPU_ONLY", "gpu": "CPU_AND_GPU", "ane": "CPU_AND_NE", "all": "ALL"}
#: What runs in the child, before the package, the folder of inputs and the compute unit.
CHILD = (sys.executable, "-m", "coregraft.verification.device")


def check_device(unit: str) -> None:
    """See that there is such a device, here.

    Raises:
        UsageError: ``device-unknown``; ``device-unavailable`` anywhere but on macOS.
    """
    if unit not in UNITS:
        raise UsageError("device-unknown", f'there is no device "{unit}"', hint=f"one of {', '.join(UNITS)}")
    if sys.platform != "darwin":
        raise UsageError("device-unavailable", "Core ML runs on macOS only", hint="leave --device out")


def predict(package: Path, feeds: Sequence[Mapping[str, Array]], unit: str) -> list[dict[str, Array]]:
    """Outputs of a package by feature name, for each feed.

    Args:
        unit: ``cpu``, ``gpu``, ``ane`` or ``all``.

    Raises:
        UsageError: as :func:`check_device`.
        UnsupportedError: ``device-failed`` when Core ML refuses the package, or the child dies.
    """
    check_device(unit)
    with tempfile.TemporaryDirectory() as folder:
        for i, feed in enumerate(feeds):
            np.savez(Path(folder) / f"in{i}.npz", **dict(feed))  # type: ignore[arg-type]
        done = subprocess.run([*CHILD, str(package), folder, UNITS[unit]], capture_output=True, text=True)
        if done.returncode:
            raise UnsupportedError("device-failed", f"on {unit}: {_why(done)}", node=str(package))
        return [_read(Path(folder) / f"out{i}.npz") for i in range(len(feeds))]


def _why(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"the process was ended by {signal.Signals(-done.returncode).name}"
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"


def _read(path: Path) -> dict[str, Array]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _child(package: str, folder: str, unit: str) -> None:
    """In the child: load the package and predict from every ``in<i>.npz`` of the folder."""
    import coremltools as ct

    model = ct.models.MLModel(package, compute_units=ct.ComputeUnit[unit])
    for path in sorted(Path(folder).glob("in*.npz")):
        found = {name: np.asarray(value) for name, value in model.predict(_read(path)).items()}
        np.savez(path.with_name(path.name.replace("in", "out", 1)), **found)  # type: ignore[arg-type]


if __name__ == "__main__":
    _child(*sys.argv[1:])
