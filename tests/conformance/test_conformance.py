"""A stratified tenth of the conformance cases, and every case of a family whose record has changed: none gets worse.

``python -m tests.conformance.run`` (``make conformance``) tries them all.
"""

from __future__ import annotations

import subprocess
from collections import defaultdict
from functools import cache

import numpy as np
import onnx
import pytest

from tests.conformance.cases import FORMS, Case, Form, cases, freeze
from tests.conformance.differences import Differences, drawn
from tests.conformance.outcome import outcome, rank
from tests.conformance.ratchet import FILES, OTHERS_FILE, Entry, Ratchet, key_of, worse
from tests.conformance.setting import BASE, OTHERS, Setting

_TENTH = 10
#: In each of the other settings, one case in so many is tried, and another one in each.
_OTHERS_ONE_IN = 50
#: The sample is tried in so many parts, so that the processes of a test run share it.
_PARTS = 8
#: Of the cases within reach, the part that has to be right.
_AT_LEAST: dict[Form, float] = {"shipped": 0.99, "frozen": 0.99}


@cache
def _record() -> Ratchet:
    return Ratchet.load(FILES["mlprogram"])


@cache
def _sample() -> list[tuple[Case, Form]]:
    """Of each family every tenth applicable case, in one form and the other by turns."""
    families: dict[str, list[Case]] = defaultdict(list)
    for case in cases("shipped"):
        if case.excluded is None:
            families[case.family].append(case)
    changed = _changed_families()
    found: list[tuple[Case, Form]] = []
    offset = 0
    for family, members in sorted(families.items()):
        if family in changed:
            found += [(case, form) for case in members for form in FORMS]
            continue
        # Counted through all families, so that small ones are not left out every time.
        for i, case in enumerate(members, start=offset):
            if i % _TENTH == 0:
                found.append((case, FORMS[i // _TENTH % 2]))
        offset += len(members)
    return found


def _changed_families() -> set[str]:
    """The families whose record differs from the last commit's; none outside of a repository."""
    path = FILES["mlprogram"]
    try:
        shown = subprocess.run(["git", "show", f"HEAD:./{path.name}"], cwd=path.parent, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return set()
    old, new = Ratchet.parse(shown.stdout.decode()), _record()
    return {new.families[case] for (case, form), entry in new.entries.items() if old.entries.get((case, form)) != entry}


@pytest.mark.parametrize("part", range(_PARTS))
def test_no_case_of_the_sample_gets_worse(part: int) -> None:
    found: dict[tuple[str, Form], Entry] = {}
    details = {}
    for case, form in _sample()[part::_PARTS]:
        with np.errstate(all="ignore"):
            ended = outcome(case if form == "shipped" else freeze(case))
        found[case.id, form] = Entry(ended.status)
        details[case.id] = ended.detail
    lines = [line for line in worse(_record(), found) if "disputed became wrong" not in line]
    assert not lines, "\n".join([*lines, *(details[line.split(" ")[0]] for line in lines)])


@pytest.mark.parametrize(("remainder", "setting"), list(enumerate(OTHERS)), ids=str)
def test_no_case_of_the_sample_gets_worse_in_another_setting(remainder: int, setting: Setting) -> None:
    sample = [c for c in cases("shipped") if c.excluded is None and drawn(c.id, _OTHERS_ONE_IN, remainder)]
    with np.errstate(all="ignore"):
        found = {key_of(case.id, "frozen"): outcome(freeze(case), setting).status for case in sample}
    assert found
    assert not Differences.load(OTHERS_FILE).worse(setting, _record().statuses(), found)


@pytest.mark.parametrize("format", FILES)
def test_the_record_is_of_this_suite(format: str) -> None:
    record = Ratchet.load(FILES[format])
    assert (record.onnx, record.target) == (onnx.__version__, BASE.target)
    assert dict(record.families) == {case.id: case.family for case in cases("shipped")}


@pytest.mark.parametrize("format", FILES)
def test_nothing_on_record_is_wrong(format: str) -> None:
    assert [key for key, entry in Ratchet.load(FILES[format]).entries.items() if not rank(entry.status)] == []


def test_nothing_on_record_of_another_setting_is_wrong() -> None:
    rows = Differences.load(OTHERS_FILE).rows
    assert set(rows) <= {str(setting) for setting in OTHERS}
    assert [(key, status) for row in rows.values() for key, status in row.items() if not rank(status)] == []


@pytest.mark.parametrize("form", FORMS)
def test_the_share_of_right_results(form: Form) -> None:
    assert _record().share(form) >= _AT_LEAST[form]
