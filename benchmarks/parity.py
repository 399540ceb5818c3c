"""Do the packages compute what the models compute? Lifted back and run beside the source, one child process a model.

``python -m benchmarks.parity [ID ...] [--exports DIR] [--precision fp32 fp16] [--keep DIR] [--jobs 2]``

Each model is converted, saved, lifted and compared with its source by :func:`coregraft.verification.verify.verify`, on
the inputs of the manifest and on one seeded draw; a package that is out of tolerance is compared layer by layer, too.
Prints one JSON line a model and precision. ``--keep`` keeps the packages and reuses what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.examine import attempt, shapes_of
from benchmarks.feeds import Array, make_feeds
from benchmarks.models import EXPORTS, MODELS, Model, cache_folder, read_manifest

if TYPE_CHECKING:
    from coregraft.verification.result import Verification

ROOT = Path(__file__).resolve().parent.parent
PRECISIONS = ("fp32", "fp16")
#: Relative L2 allowed in half precision.
HALF = 2e-2
Facts = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", metavar="ID", help="only these models")
    parser.add_argument("--models", type=Path, default=cache_folder(), help="folder of fetched models (%(default)s)")
    parser.add_argument("--exports", type=Path, help="folder of the exports of exports.toml")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--keep", type=Path, help="folder for the packages")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one model and precision")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--child", nargs=3, metavar=("PATH", "PRECISION", "PACKAGE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return _child(args.ids[0], *args.child)
    with tempfile.TemporaryDirectory(prefix="coregraft-parity-") as scratch:
        folder = args.keep or Path(scratch)
        tasks = [(m, p, precision) for m, p in _select(args) for precision in args.precision]

        def one(task: tuple[Model, Path, str]) -> Facts:
            return _run(*task, folder / task[2] / f"{task[0].id}.mlpackage", args.timeout)

        bad = 0
        with ThreadPoolExecutor(args.jobs) as pool:
            for facts in pool.map(one, tasks):
                bad += not facts.get("ok", False)
                print(json.dumps(facts), flush=True)
    return 1 if bad else 0


def measure(model: Model, source: Path, package: Path) -> Facts:
    """How far a package is from its source.

    Returns:
        ``ok``; ``manifest`` and ``seeded``, the worst relative L2 of any output on those inputs; ``warnings`` of the
        lift. Out of tolerance also ``why``, one line an output; ``first``, the layer at which the drift starts; and
        what a half-precision package owes to it: ``weights``, the error with only the weights rounded, and
        ``source``, how far the source's own outputs move when its inputs are rounded to half precision.
    """
    from coregraft.lowering.lift import lift
    from coregraft.verification.verify import verify

    lifted = lift(package)
    feeds = {"manifest": make_feeds(model), "seeded": None}
    runs = {kind: verify(source, lifted, inputs=feeds[kind], draws=1, seed=1, layers=False) for kind in feeds}
    facts: Facts = {"ok": all(run.ok for run in runs.values()), "warnings": list(runs["manifest"].warnings)}
    facts |= {kind: _worst(run) for kind, run in runs.items()}
    wrong = next((kind for kind, run in runs.items() if not run.ok), None)
    if wrong is None:
        return facts
    facts["why"] = [f"{kind} inputs, {c.name}: {c.why}" for kind, run in runs.items() for c in run.outputs if not c.ok]
    drift = verify(source, lifted, inputs=feeds[wrong], draws=1, seed=1).drift
    assert drift is not None  # layers were asked for
    first = drift.first
    facts["first"] = None if first is None else [first.op, first.comparison.why]
    if runs[wrong].precision == "fp16":
        exact = verify(source, lift(package, fp16="exact"), inputs=feeds[wrong], draws=1, seed=1, layers=False)
        facts |= {"weights": _worst(exact), "source": _sensitivity(model, source, feeds[wrong])}
    return facts


def reason_of(facts: Facts) -> str:
    """Why a half-precision package is out of tolerance, in words."""
    op, what = facts["first"] or ("the output", facts["why"][0])
    if "finite" in what:
        return f"{op}: values beyond 65504, the largest of half precision"
    if (facts["source"] or 0.0) > HALF:
        moved = f"the model's own outputs move by {facts['source']:.2g}"
        return f"{op}: {moved} when its inputs are rounded to half precision"
    if (facts["weights"] or 0.0) > HALF / 2:
        return f"{op}: rounding only the weights to half precision makes {facts['weights']:.2g} of it"
    return f"{op}: rounding adds up"


def _worst(run: Verification) -> float | None:
    """The worst relative L2 (share of wrong elements, for integers) of a run; None where elements are not finite."""
    figures = [c.mismatches if c.relative_l2 is None else c.relative_l2 for c in run.outputs]
    known = [f for f in figures if f is not None]
    return max(known, default=0.0) if len(known) == len(figures) or run.ok else None


def _sensitivity(model: Model, source: Path, feed: dict[str, Array] | None) -> float | None:
    from coregraft.lowering.convert import graph_of
    from coregraft.rewriter.execute import Runner
    from coregraft.rewriter.shapes.dims import pin_dims
    from coregraft.verification.compare import TOLERANCES, compare
    from coregraft.verification.inputs import draw

    graph = graph_of(source)
    pin_dims(graph, {}, shapes_of(model))
    given = feed or draw(graph, 1)
    rounded = {k: v.astype(np.float16).astype(v.dtype) if v.dtype == np.float32 else v for k, v in given.items()}
    runner = Runner(graph)
    before, after = runner.run(given), runner.run(rounded)
    figures = [compare(v, before[v], after[v], TOLERANCES["fp16"]).relative_l2 for v in before]
    return max((f for f in figures if f is not None), default=None)


def _select(args: argparse.Namespace) -> list[tuple[Model, Path]]:
    found = []
    for manifest, folder in ((MODELS, args.models), (EXPORTS, args.exports)):
        for model in read_manifest(manifest)[1] if folder is not None else ():
            path = model.place(model.main, folder) if manifest is MODELS else folder / model.path
            if path.is_file() and (not args.ids or model.id in args.ids):
                found.append((model, path))
    return found


def _run(model: Model, path: Path, precision: str, package: Path, timeout: float) -> Facts:
    command = [sys.executable, "-m", "benchmarks.parity", model.id, "--child", str(path), precision, str(package)]
    facts: Facts = {"id": model.id, "precision": precision}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {**facts, "code": "timeout", "reason": f"more than {timeout:g} s"}
    lines = [text for text in done.stdout.splitlines() if text.startswith("{")]
    if done.returncode or not lines:
        return {**facts, "code": "died", "reason": f"{done.returncode}: " + " ".join(done.stderr.splitlines()[-1:])}
    return {**facts, **json.loads(lines[-1])}


def _child(name: str, path: str, precision: str, package: str) -> int:
    model = next(m for manifest in (MODELS, EXPORTS) for m in read_manifest(manifest)[1] if m.id == name)
    print(json.dumps(attempt(lambda: _convert_and_measure(model, Path(path), precision, Path(package)))))
    return 0


def _convert_and_measure(model: Model, path: Path, precision: Any, package: Path) -> Facts:
    from coregraft.lowering.convert import convert

    if not package.exists():
        package.parent.mkdir(parents=True, exist_ok=True)
        convert(path, precision=precision, shapes=shapes_of(model)).save(package)
    start = time.perf_counter()
    facts = measure(model, path, package)
    return {**facts, "seconds": round(time.perf_counter() - start, 1)}


if __name__ == "__main__":
    sys.exit(main())
