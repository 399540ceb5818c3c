"""Run everything on every model, and write the tables of docs/models.md.

``python -m benchmarks.sweep [ID ...] [--exports DIR] [--seeds none|some|all] [--jobs 2]``

Each model goes through the stages of :mod:`benchmarks.examine` in a child process with a time limit: a model that
crashes or hangs costs itself one stage. The tables say nothing of this machine or run; the same code gives the same.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.examine import STAGES
from benchmarks.models import EXPORTS, MODELS, Model, cache_folder, is_file, read_manifest
from benchmarks.parity import HALF, reason_of

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "models.md"
#: Outputs may move by so much of their largest value when sums are taken in another order.
TOLERANCE = 1e-4
#: Seeds of Python's hashes under which everything must come out the same; the first one is the run itself.
HASH_SEEDS = ("0", "1", "4242")


@dataclass
class Row:
    """A model and what each stage found."""

    model: Model
    table: str
    path: Path
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def failures(self) -> list[tuple[str, str, str]]:
        """(stage, code, reason) of what went wrong."""
        found = []
        for stage, facts in self.stages.items():
            if "code" in facts:
                found.append((stage, facts["code"], facts["reason"]))
            elif facts.get("error", 0.0) > TOLERANCE:
                reason = f"an output moves by {facts['error']:.2g} of its largest value"
                found.append((stage, "outputs-differ", reason))
            elif stage == "fp32" and not facts["parity"]["ok"]:
                found.append((stage, "outputs-differ", "; ".join(facts["parity"]["why"])))
        return found

    @property
    def drifts(self) -> str | None:
        """Why its half-precision package is out of tolerance; None when it is not, or there is none."""
        parity = self.stages["fp16"].get("parity")
        return None if parity is None or parity["ok"] else reason_of(parity)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", metavar="ID", help="only these models; then nothing is written")
    parser.add_argument("--models", type=Path, default=cache_folder(), help="folder of fetched models (%(default)s)")
    parser.add_argument("--exports", type=Path, help="folder of the exports of exports.toml")
    parser.add_argument("--seeds", choices=("none", "some", "all"), default="some", help="models to run thrice")
    parser.add_argument("--timeout", type=float, default=600, help="seconds that the stages of one model may take")
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    rows = list(select(args.models, args.exports, args.ids))
    if not rows:
        parser.error("none of these models is there: run python -m benchmarks.fetch_models, or give --exports")

    def one(numbered: tuple[int, Row]) -> Row:
        number, row = numbered
        row.stages = examine(row, STAGES, args.timeout, HASH_SEEDS[0])
        if args.seeds == "all" or (args.seeds == "some" and number % 8 == 0):
            check_seeds(row, args.timeout)
        return row

    with ThreadPoolExecutor(args.jobs) as pool:
        for row in pool.map(one, enumerate(rows)):
            print(line(row), file=sys.stderr, flush=True)
    if not args.ids:
        PAGE.write_text(page(rows), encoding="utf-8")
    return 1 if any(row.failures for row in rows) else 0


def select(models: Path, exports: Path | None, ids: Sequence[str]) -> Iterable[Row]:
    """The models that are there, in the order of the manifests; says which are not."""
    for table, manifest, folder in (("trained", MODELS, models), ("exported", EXPORTS, exports)):
        if folder is None:
            continue
        for model in read_manifest(manifest)[1]:
            if ids and model.id not in ids:
                continue
            path = model.place(model.main, folder) if table == "trained" else folder / model.path
            if is_file(path, model.main):
                yield Row(model, table, path)
            else:
                print(f"{model.id}: not there, or not the file of the manifest", file=sys.stderr)


def examine(row: Row, stages: Sequence[str], timeout: float, hash_seed: str) -> dict[str, dict[str, Any]]:
    """Run stages in a child process, and in another one those that a dead child leaves."""
    found: dict[str, dict[str, Any]] = {}
    while left := [s for s in stages if s not in found]:
        command = [sys.executable, "-m", "benchmarks.examine", row.model.id, str(row.path), *left]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"}
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout, check=False
            )
            output, death = done.stdout, {"code": "died", "reason": f"the process ended with {done.returncode}"}
            if done.returncode:
                death["reason"] += ": " + " ".join(done.stderr.splitlines()[-1:])
        except subprocess.TimeoutExpired as late:
            output = late.stdout.decode() if isinstance(late.stdout, bytes) else late.stdout or ""
            death = {"code": "timeout", "reason": f"more than {timeout:g} s"}
        for text in output.splitlines():
            if text.startswith('{"stage": '):
                facts = json.loads(text)
                found[facts.pop("stage")] = facts
        if unfinished := [s for s in left if s not in found]:
            found[unfinished[0]] = death
    return {stage: found[stage] for stage in stages}


def check_seeds(row: Row, timeout: float) -> None:
    """Run the stages that write something under other hash seeds; anything written that differs is a failure."""
    writing = [s for s in STAGES if "digests" in row.stages[s]]
    for seed in HASH_SEEDS[1:]:
        again = examine(row, writing, timeout, seed)
        for stage in writing:
            if again[stage].get("digests") != row.stages[stage]["digests"]:
                reason = f"PYTHONHASHSEED={seed} writes other bytes than {HASH_SEEDS[0]}"
                row.stages[stage] |= {"code": "nondeterministic", "reason": reason}
    row.stages["seeds"] = {}


def line(row: Row) -> str:
    """A model's outcome for the terminal."""
    failures = "; ".join(f"{stage}: [{code}] {reason}" for stage, code, reason in row.failures)
    return f"{row.model.id:24} {failures or 'ok'}"


# ---------------------------------------------------------------- the page

_HEADER = """# Models

Written by `python -m benchmarks.sweep --exports DIR`; do not edit. `python -m benchmarks.fetch_models` gets the trained
models; the exports were made from PyTorch with seeded weights (`benchmarks/exports.toml`).

Each model is loaded and saved again, and must come out field by field and byte by byte as it was. Then:

- *ops → after*: ops of the main graph as loaded, and after the default rewrites, sizes left open;
- *rewritten*: how far the outputs then are from the model's own on seeded inputs, over their largest value;
- *prepared*: the same for all that a conversion does before lowering, in fp32, for the target iOS17 and fixed sizes;
- *fp32*, *fp16*: operations of the ML Program, constants left out, or the code of the error; and, that package lifted
  back to ONNX, the worst relative L2 error of any output on the inputs of the manifest. Every half-precision value is
  rounded after its op. On seeded inputs of other values the same is asked: 1e-4 in fp32, {half:g} in fp16.

All runs are onnxruntime's, its own rewrites off. The limit is {limit:g}: what the passes promise is the same sums in
another order.
"""


_DRIFTING = """The first layer that is out of tolerance, on the inputs of the manifest or on seeded ones, and why.

"""


def page(rows: Sequence[Row]) -> str:
    """docs/models.md."""
    parts = [_HEADER.format(limit=TOLERANCE, half=HALF), _totals(rows)]
    for table, title in (("trained", "Trained models"), ("exported", "Exports")):
        of_table = [row for row in rows if row.table == table]
        if of_table:
            parts.append(f"## {title}\n\n" + _table(of_table))
    drifting = [f"- {row.model.id}: {row.drifts}" for row in rows if row.drifts]
    if drifting:
        parts.append("## What half precision does not hold\n\n" + _DRIFTING + "\n".join(drifting) + "\n")
    failed = [row for row in rows if row.failures]
    if failed:
        parts.append("## What does not work\n\n" + "\n".join(_reasons(row) for row in failed) + "\n")
    return "\n".join(parts)


def _totals(rows: Sequence[Row]) -> str:
    def clean(stage: str) -> int:
        return sum(1 for row in rows if stage in row.stages and all(s != stage for s, *_ in row.failures))

    thrice = sum(1 for row in rows if "seeds" in row.stages)
    unlike = sum(1 for row in rows if any(code == "nondeterministic" for _, code, _ in row.failures))
    return (
        f"Of {len(rows)} models: {clean('exact')} round trips exact, {clean('rewrite')} rewritten and "
        f"{clean('prepare')} prepared with equal results, {clean('fp32')} converted in fp32, {clean('fp16')} in fp16; "
        f"of those packages {_within(rows, 'fp32')} compute what the model does, {_within(rows, 'fp16')} in fp16. "
        f"{thrice} were run under three hash seeds: {thrice - unlike} wrote the same bytes each time.\n"
    )


def _within(rows: Sequence[Row], stage: str) -> int:
    return sum(1 for row in rows if row.stages[stage].get("parity", {"ok": False})["ok"])


def _table(rows: Sequence[Row]) -> str:
    lines = ["| model | opset | ops → after | rewritten | prepared | fp32 | fp16 |", "|--|--|--|--|--|--|--|"]
    for row in rows:
        exact, rewritten, prepared, single, half = (row.stages[s] for s in STAGES)
        ops = f"{exact.get('ops', '?')} → {rewritten.get('ops', '?')}"
        cells = [row.model.id, str(row.model.opset), ops, _error(rewritten), _error(prepared), _ops(single), _ops(half)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _error(facts: dict[str, Any]) -> str:
    return f"`{facts['code']}`" if "code" in facts else f"{facts['error']:.1g}"


def _ops(facts: dict[str, Any]) -> str:
    if "code" in facts:
        return f"`{facts['code']}`"
    error = facts["parity"]["manifest"]
    return f"{facts['ops']}, " + ("not finite" if error is None else f"{error:.1g}")


def _reasons(row: Row) -> str:
    by_reason: dict[tuple[str, str], list[str]] = {}
    for stage, code, reason in row.failures:
        by_reason.setdefault((code, reason), []).append(stage)
    texts = [f"{', '.join(stages)}: `{code}`, {' '.join(why.split())}" for (code, why), stages in by_reason.items()]
    return f"- {row.model.id}: " + "; ".join(texts)


if __name__ == "__main__":
    sys.exit(main())
