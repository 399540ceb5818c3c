"""Every variant of every op: ``python -m tests.conformance.variants.run [--update]``.

Converts, saves, lifts and runs each variant, compares with onnxruntime, prints what is not right by cause, and
compares with the committed record. With ``--update`` the record takes the new results, unless one got worse. Of a
target or precision that is not the base's, only what differs from the record of the base is kept.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from tests.conformance.differences import drawn
from tests.conformance.outcome import Outcome, rank
from tests.conformance.run import quiet
from tests.conformance.setting import OTHERS, Setting, add_options
from tests.conformance.variants import record
from tests.conformance.variants.variant import attempt, case, families, labelled

#: Causes that are printed of a family, and variants of a cause.
_SHOWN = 3


def tried(name: str, setting: Setting, one_in: int) -> dict[str, Outcome]:
    """What became of the variants of an op; one that no reference can run, or that does not apply, is left out."""
    cases = [case(name, label, variant) for label, variant in labelled(name) if drawn(label, one_in)]
    left_out = Counter(c.excluded for c in cases if c.excluded is not None)
    if left_out:
        print(f"{name}: left out {dict(left_out)}")
    return {c.id: attempt(c, setting) for c in cases if c.excluded is None}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 1 when a variant got worse, or ended in neither a right result nor a refusal."""
    about = (__doc__ or "").split("\n\n")[1]
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.variants.run", description=about)
    parser.add_argument("--format", choices=record.FORMATS, action="append", help="model format; both when left out")
    add_options(parser)
    parser.add_argument("--select", default="", help="only ops whose name has this in it")
    parser.add_argument("--update", action="store_true", help="write the results into the record")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args(arguments)
    formats = options.format or record.FORMATS
    settings = OTHERS if options.others else [Setting(f, options.target, options.precision) for f in formats]
    is_base = settings[0].is_base
    one_in = options.one_in or (1 if is_base else record.OTHERS_ONE_IN)
    if options.update and is_base and one_in > 1:
        parser.error("the record of the base wants all variants of an op, not a sample")
    quiet()
    import coremltools  # noqa: F401  # once, before the processes part

    work = [(name, setting, one_in) for name in families() if options.select in name for setting in settings]
    with multiprocessing.get_context("fork").Pool(options.jobs) as pool:
        results = pool.starmap(tried, work, chunksize=1)
    found = {(name, setting): result for (name, setting, _), result in zip(work, results, strict=True)}
    for (name, setting), result in found.items():
        _print(name, setting, result)
    if is_base:
        by_format = {(name, setting.format): result for (name, setting), result in found.items()}
        return _settle(by_format, update=options.update)
    return max(_settle_other(setting, found, update=options.update) for setting in settings)


def _settle_other(
    setting: Setting, results: Mapping[tuple[str, Setting], Mapping[str, Outcome]], *, update: bool
) -> int:
    of_setting = {name: found for (name, which), found in results.items() if which == setting}
    base = record.statuses(record.load(), setting.format, of_setting)
    found = {label: ended.status for found in of_setting.values() for label, ended in found.items()}
    return record.others().settle(setting, base, found, update=update)


def _print(name: str, setting: Setting, found: Mapping[str, Outcome]) -> None:
    right = sum(ended.status == "right" for ended in found.values())
    print(f"{name} {setting.format if setting.is_base else setting}: {right} of {len(found)}")
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
        tried = {(name, label) for (name, _), found in statuses.items() for label in found}
        marks = {name: row.marks for name, row in old.items()}
        record.others().add(label for name, label in sorted(tried) if record.mark(label) not in marks.get(name, ()))
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
        new[name] = record.FamilyRecord(frozenset(map(record.mark, labels)), attributes, missed)
    return new


if __name__ == "__main__":
    sys.exit(main())
