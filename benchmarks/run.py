"""coregraft beside other tools: ``python -m benchmarks.run [--quick] [--only load,fp16] [--json] [--rounds 5]``.

Every figure is the median of as many fresh processes as there are rounds, the tools taking turns (A B A B ...), so that
a change of the machine's load meets all of them. CPU seconds (user and system, all threads), imports left out, and how
far the process grew. ``make bench`` runs it in an environment of its own, in which the peers are pinned.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.tasks import TASKS
from benchmarks.workloads import write

ROOT = Path(__file__).resolve().parent.parent
PEERS = ("onnx", "onnxruntime", "onnxscript", "onnxsim", "onnxslim", "onnx-graphsurgeon", "onnx2coreml", "coremltools")
#: Task, what it is called, and the workloads it runs on: in full, and with --quick.
ROWS: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("load", "load", ("W2", "D10000", "D100000"), ("W1", "D1000")),
    ("shapes", "shape inference", ("W2", "D10000"), ("W1", "D1000")),
    ("clean", "clean-up, file to file", ("W1", "W2", "D1000", "D10000"), ("W1", "D1000")),
    ("never", "a rule that never matches", ("D10000", "D100000"), ("D1000",)),
    ("replace", "Relu(Add) to one op", ("D10000",), ("D1000",)),
    ("fold", "Conv + BatchNormalization fold", ("D10000",), ("D1000",)),
    ("rules", "50 rules beside 1", ("D10000",), ("D1000",)),
    ("fp16", "convert, fp16", ("W1", "W2", "W6"), ("W1",)),
    ("fp32", "convert, fp32", ("W1", "W2", "W6"), ("W1",)),
)
#: Peers that need minutes and more; a figure for the record costs too much here.
TOO_SLOW = {("clean", "onnxslim", "D10000"), ("clean", "onnxscript", "D10000")}


@dataclass
class Cell:
    """What one tool did in all rounds: its CPU seconds, its growth in bytes, and its last other facts."""

    cpu: list[float] = field(default_factory=list)
    peak: list[int] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    failure: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small workloads, a minute or two")
    parser.add_argument("--only", default="", help=f"tasks, separated by commas: {', '.join(TASKS)}")
    parser.add_argument("--workloads", default="", help="workloads, separated by commas")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--timeout", type=float, default=600, help="seconds that one process may take")
    parser.add_argument("--folder", type=Path, help="where workloads are kept; a temporary folder when not given")
    parser.add_argument("--json", action="store_true", help="all figures, and nothing else on stdout")
    args = parser.parse_args()
    wanted = [name for name in args.only.split(",") if name]
    if unknown := sorted(set(wanted) - TASKS.keys()):
        parser.error(f"no such task: {', '.join(unknown)}")
    only = [name for name in args.workloads.split(",") if name]
    results = []
    with tempfile.TemporaryDirectory(prefix="coregraft-bench-") as scratch:
        for task, title, full, quick in ROWS:
            if wanted and task not in wanted:
                continue
            for workload in quick if args.quick else full:
                if only and workload not in only:
                    continue
                path = write(workload, args.folder or Path(scratch))
                cells = take_turns(task, workload, path, args.rounds, args.timeout)
                results.append({"task": task, "workload": workload, "tools": {t: asdict(c) for t, c in cells.items()}})
                if not args.json:
                    print(table(title, workload, cells), flush=True)
    if args.json:
        print(json.dumps({"setting": setting(), "rounds": args.rounds, "results": results}, indent=1))
    else:
        print(", ".join(f"{name} {version}" for name, version in setting().items()))
    return 0


def take_turns(task: str, workload: str, path: Path, rounds: int, timeout: float) -> dict[str, Cell]:
    """Measure all tools of a task in turn; a tool that fails once is left out of the later rounds."""
    cells = {tool: Cell() for tool in TASKS[task]}
    for _ in range(rounds):
        for tool, cell in cells.items():
            if (task, tool, workload) in TOO_SLOW:
                cell.failure = "not run: minutes"
            if cell.failure:
                continue
            try:
                figures = measure(task, tool, path, timeout)
            except MeasurementError as error:
                cell.failure = str(error)
                continue
            cell.cpu.append(figures.pop("cpu"))
            peak = figures.pop("peak")
            if peak is not None:
                cell.peak.append(peak)
            cell.facts = figures
    return cells


class MeasurementError(Exception):
    """A tool could not do the task; the message is the last line of what it said."""


def measure(task: str, tool: str, path: Path, timeout: float) -> dict[str, Any]:
    """One run in a process of its own.

    Raises:
        MeasurementError: the process failed, or took too long.
    """
    environment = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(prefix="coregraft-bench-") as folder:
        command = [sys.executable, "-m", "benchmarks.tasks", task, tool, str(path), folder]
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            raise MeasurementError(f"more than {timeout:g} s") from None
    if done.returncode:
        raise MeasurementError((done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1][:120])
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def table(title: str, workload: str, cells: dict[str, Cell]) -> str:
    """A task on one workload, as a Markdown table; the ratio is to the first tool, coregraft."""
    first = next(iter(cells.values()))
    base = statistics.median(first.cpu) if first.cpu else None
    lines = [f"### {title}, {workload}", "", "| tool | CPU s | spread | x | growth MB | |", "|--|--|--|--|--|--|"]
    for tool, cell in cells.items():
        if not cell.cpu:
            lines.append(f"| {tool} | | | | | {cell.failure} |")
            continue
        cpu = statistics.median(cell.cpu)
        ratio = f"{cpu / base:.2f}" if base else ""
        growth = f"{statistics.median(cell.peak) / 1e6:.0f}" if cell.peak else "?"
        spread = f"{min(cell.cpu):.3g}–{max(cell.cpu):.3g}"
        lines.append(f"| {tool} | {cpu:.3g} | {spread} | {ratio} | {growth} | {remark(cell.facts, cpu)} |")
    return "\n".join(lines) + "\n"


def remark(facts: dict[str, Any], cpu: float) -> str:
    """What else there is to say: time a node or a match, the nodes that are left."""
    if "matches" not in facts:
        return ", ".join(f"{value} {name}" for name, value in facts.items())
    each = f", {cpu / facts['matches'] * 1e6:.0f} µs a match" if facts["matches"] else ""
    return f"{cpu / facts['nodes'] * 1e6:.2f} µs a node{each}"


def setting() -> dict[str, str]:
    """Versions, and the kind of machine."""
    versions = {"coregraft": importlib.metadata.version("coregraft")}
    versions |= {name: importlib.metadata.version(name) for name in PEERS}
    return {**versions, "Python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}


if __name__ == "__main__":
    sys.exit(main())
