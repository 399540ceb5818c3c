"""Every variant of every op: ``python -m tests.conformance.variants.run [--update]``.

Converts, saves, lifts and runs each variant, compares with onnxruntime, prints what is not right by cause, and
compares with the committed record. With ``--update`` the record takes the new results, unless one got worse.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from tests.conformance.outcome import Outcome, rank
from tests.conformance.run import quiet
from tests.conformance.variants import record
from tests.conformance.variants.variant import attempt, case, families, labelled

#: Causes that are printed of a family, and variants of a cause.
_SHOWN = 3


def tried(name: str, format: str) -> dict[str, Outcome]:
    """What became of the variants of an op; one that no reference can run, or that does not apply, is left out."""
    cases = [case(name, label, variant) for label, variant in labelled(name)]
    left_out = Counter(c.excluded for c in cases if c.excluded is not None)
    if left_out:
        print(f"{name}: left out {dict(left_out)}")
    return {c.id: attempt(c, format) for c in cases if c.excluded is None}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 1 when a variant got worse, or ended in neither a right result nor a refusal."""
    about = (__doc__ or "").split("\n\n")[1]
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.variants.run", description=about)
    parser.add_argument("--format", choices=record.FORMATS, action="append", help="model format; both when left out")
    parser.add_argument("--select", default="", help="only ops whose name has this in it")
    parser.add_argument("--update", action="store_true", help="write the results into the record")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args(arguments)
    quiet()
    import coremltools  # noqa: F401  # once, before the processes part

    formats = options.format or record.FORMATS
    work = [(name, kind) for name in families() if options.select in name for kind in formats]
    with multiprocessing.get_context("fork").Pool(options.jobs) as pool:
        results = dict(zip(work, pool.starmap(tried, work, chunksize=1), strict=True))
    for key, found in results.items():
        _print(*key, found)
    return _settle(results, update=options.update)


def _print(name: str, format: str, found: Mapping[str, Outcome]) -> None:
    right = sum(ended.status == "right" for ended in found.values())
    print(f"{name} {format}: {right} of {len(found)}")
    causes: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for label, ended in found.items():
        if ended.status != "right":
            causes[ended.status].append((label, ended.detail))
    for status, members in sorted(causes.items()):
        print(f"  {len(members):4} {status}")
        for label, detail in members[: len(members) if not rank(status) else _SHOWN]:
            last = detail.strip().splitlines()[-1] if status.startswith("crash") else detail.split(" Hint:")[0]
            print(f"         {label}: {last[:240]}")


def _settle(results: Mapping[tuple[str, str], Mapping[str, Outcome]], *, update: bool) -> int:
    old = record.load()
    statuses = {key: {label: ended.status for label, ended in found.items()} for key, found in results.items()}
    declined = [line for (name, f), found in statuses.items() for line in record.worse(name, f, old.get(name), found)]
    for line in declined:
        print(f"worse: {line}", file=sys.stderr)
    if update and not declined:
        record.save({**old, **_records(old, statuses)})
    return 1 if declined or any(not rank(s) for found in statuses.values() for s in found.values()) else 0


def _records(
    old: Mapping[str, record.FamilyRecord], statuses: Mapping[tuple[str, str], Mapping[str, str]]
) -> dict[str, record.FamilyRecord]:
    """The new record of the families that were tried, with what the old one has of formats that were not."""
    new = {}
    for name in dict.fromkeys(name for name, _ in statuses):
        missed = {f: dict(old[name].missed[f]) if name in old else {} for f in record.FORMATS}
        for kind in record.FORMATS:
            if (name, kind) in statuses:
                missed[kind] = {label: s for label, s in statuses[name, kind].items() if s != "right"}
        labels = next(list(found) for (n, _), found in statuses.items() if n == name)
        attributes = Counter(attribute for label in labels for attribute in record.given(label))
        new[name] = record.FamilyRecord(len(labels), attributes, missed)
    return new


if __name__ == "__main__":
    sys.exit(main())
