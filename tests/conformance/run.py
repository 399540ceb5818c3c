"""The whole conformance run: ``python -m tests.conformance.run [--update]``.

Tries every case in both forms on all cores, prints the figures and what did not convert by cause, and compares with
the committed record. With ``--update`` the record takes the new results, unless a case got worse. Of a target or
precision that is not the base's, only what differs from the record of the base is kept.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.conformance.cases import FORMS, Case, Form, cases, freeze
from tests.conformance.differences import Differences, drawn
from tests.conformance.outcome import Outcome, outcome
from tests.conformance.ratchet import FILES, OTHERS_FILE, Entry, Ratchet, key_of, worse
from tests.conformance.reach import REFERENCES_DIFFER, beyond, by_runtime
from tests.conformance.setting import BASE, OTHERS, Setting, add_options

#: Cases a worker takes at a time: few enough that the cores end together.
_CHUNK = 8


def tried(case: Case, setting: Setting) -> dict[Form, tuple[Entry, str]]:
    """What a case ended as, by form, with the details; a form that is the same as the other is tried once."""
    shipped = _entry(case, setting)
    frozen = freeze(case)
    return {"shipped": shipped, "frozen": shipped if frozen.model is case.model else _entry(frozen, setting)}


def _entry(case: Case, setting: Setting) -> tuple[Entry, str]:
    ended = outcome(case, setting)
    out_of_reach = None if case.excluded else beyond(case)
    if ended.status == "wrong" and out_of_reach == REFERENCES_DIFFER:
        agreed = outcome(by_runtime(case), setting)
        if agreed.status == "right":
            ended = Outcome("disputed", f"as onnxruntime has it, not as the case does: {ended.detail}")
    return Entry(ended.status, out_of_reach), ended.detail


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 1 when a case got worse, or ended in neither a right result nor a refusal."""
    about = (__doc__ or "").split("\n\n")[1]
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.run", description=about)
    parser.add_argument("--format", choices=sorted(FILES), default=BASE.format, help="model format")
    add_options(parser)
    parser.add_argument("--select", default="", help="only cases whose id or family has this in it")
    parser.add_argument("--update", action="store_true", help="write the results into the record")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args(arguments)
    quiet()
    settings = OTHERS if options.others else [Setting(options.format, options.target, options.precision)]
    chosen = [c for c in cases("shipped") if options.select in c.id or options.select == c.family]
    chosen = [c for c in chosen if drawn(c.id, options.one_in or 1)]
    return max(_in_setting(setting, options, chosen) for setting in settings)


def _in_setting(setting: Setting, options: Any, chosen: list[Case]) -> int:
    print(f"\n{setting}")
    results = _run(chosen, setting, options.jobs)
    found = {(case.id, form): results[case.id][form] for case in chosen for form in FORMS}
    _print_causes(chosen, found)
    entries = {key: entry for key, (entry, _) in found.items()}
    return _settle(options, chosen, entries) if setting.is_base else _settle_other(options, setting, entries)


_WORK: list[Case] = []
_SETTING = BASE


def _run(chosen: list[Case], setting: Setting, jobs: int) -> dict[str, dict[Form, tuple[Entry, str]]]:
    global _WORK, _SETTING  # what the forked workers see: models need not be sent to them
    _WORK, _SETTING = chosen, setting
    import coremltools  # noqa: F401  # once, before the processes part

    context = multiprocessing.get_context("fork")
    with context.Pool(jobs) as pool:
        done = list(pool.imap_unordered(_one, range(len(chosen)), chunksize=_CHUNK))
    return {chosen[i].id: result for i, result in done}


def _one(index: int) -> tuple[int, dict[Form, tuple[Entry, str]]]:
    return index, tried(_WORK[index], _SETTING)


def quiet() -> None:
    """One thread a process, and nothing but results on the terminal."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    np.seterr(all="ignore")


def _print_causes(chosen: list[Case], found: dict[tuple[str, Form], tuple[Entry, str]]) -> None:
    families = {case.id: case.family for case in chosen}
    for form in FORMS:
        causes: dict[tuple[str, str], list[str]] = defaultdict(list)
        for (case, which), (entry, detail) in sorted(found.items()):
            if which == form and entry.status.partition(":")[0] not in ("right", "not-applicable"):
                causes[entry.status, families[case]].append(detail)
        print(f"\n{form}: what is not right, by cause")
        for (status, family), details in sorted(causes.items()):
            last = details[0].strip().splitlines()[-1] if status.startswith("crash") else details[0].split(" Hint:")[0]
            print(f"  {len(details):3} {status} {family}: {last[:200]}")


def _settle(options: Any, chosen: list[Case], entries: dict[tuple[str, Form], Entry]) -> int:
    import onnx

    path = FILES[options.format]
    old = Ratchet.load(path) if path.exists() else Ratchet(onnx.__version__, BASE.target, {}, {})
    families = {case.id: case.family for case in chosen}
    if options.select or options.one_in:
        families, entries = {**old.families, **families}, {**old.entries, **entries}
    new = Ratchet(onnx.__version__, BASE.target, families, entries)
    for form in FORMS:
        print(f"\n{form}: {100 * new.share(form):.1f} % of the cases within reach are right; {new.figures(form)}")
    broken = Counter(e.status.partition(":")[0] for e in entries.values())
    faults = sum(broken[kind] for kind in ("wrong", "crash", "unlifted"))
    declined = list(worse(old, entries))
    for line in declined:
        print(f"worse: {line}", file=sys.stderr)
    if options.update and not declined:
        path.write_text(new.text(), encoding="utf-8")
    return 1 if declined or faults else 0


def _settle_other(options: Any, setting: Setting, entries: dict[tuple[str, Form], Entry]) -> int:
    base = Ratchet.load(FILES[setting.format]).statuses()
    found = {key_of(*key): entry.status for key, entry in entries.items()}
    for form in FORMS:
        counts = Counter(e.status.partition(":")[0] for (_, which), e in entries.items() if which == form)
        print(f"\n{form}: {dict(sorted(counts.items()))}")
    return Differences.load(OTHERS_FILE).settle(setting, base, found, update=options.update)


if __name__ == "__main__":
    sys.exit(main())
