"""A sample of the variants of every op, in both formats: none is wrong, and none is worse than on record.

``python -m tests.conformance.variants.run`` (part of ``make conformance``) tries them all.
"""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from tests.conformance.differences import drawn
from tests.conformance.outcome import rank
from tests.conformance.setting import OTHERS, Setting
from tests.conformance.variants import record
from tests.conformance.variants.variant import attempt, case, families, labelled

#: Of the variants of an op, one in so many is tried; the first one depends on the op and the format.
_ONE_IN = 16
_PARTS = 12
#: In each of the other settings, one variant in so many is tried, and another one in each.
_OTHERS_ONE_IN = 256


@pytest.mark.parametrize("part", range(_PARTS))
def test_no_variant_of_the_sample_is_worse_than_on_record(part: int) -> None:
    known = record.load()
    lines: list[str] = []
    for i, name in islice(enumerate(families()), part, None, _PARTS):
        variants = labelled(name)
        for j, kind in enumerate(record.FORMATS):
            sample = variants[(i + j) % min(_ONE_IN, len(variants)) :: _ONE_IN]
            with np.errstate(all="ignore"):
                cases = [case(name, *pair) for pair in sample]
                found = {c.id: attempt(c, Setting(kind)).status for c in cases if c.excluded is None}
            lines += record.worse(name, kind, known[name], found)
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize(("remainder", "setting"), list(enumerate(OTHERS)), ids=str)
def test_no_variant_of_the_sample_is_worse_in_another_setting(remainder: int, setting: Setting) -> None:
    sample = {
        name: [(label, v) for label, v in labelled(name) if drawn(label, _OTHERS_ONE_IN, 8 * remainder)]
        for name in families()
    }
    with np.errstate(all="ignore"):
        tried = [case(name, *pair) for name, pairs in sample.items() for pair in pairs]
        found = {c.id: attempt(c, setting).status for c in tried if c.excluded is None}
    assert found
    labels = {name: [label for label, _ in pairs] for name, pairs in sample.items()}
    base = record.statuses(record.load(), setting.format, labels)
    assert not record.others().worse(setting, base, found)


def test_every_family_is_on_record() -> None:
    assert sorted(record.load()) == sorted(families())


def test_nothing_on_record_is_wrong() -> None:
    rows = record.load().items()
    found = [(name, label, s) for name, row in rows for m in row.missed.values() for label, s in m.items()]
    assert [line for line in found if not rank(line[2])] == []
    others = record.others().rows.items()
    assert [(s, *pair) for s, row in others for pair in row.items() if not rank(pair[1])] == []


def test_a_new_variant_may_be_refused_and_a_known_one_may_not() -> None:
    marks = frozenset(map(record.mark, ("A-1(x){}", "A-1(y){}")))
    old = record.FamilyRecord(marks, {}, {"mlprogram": {"A-1(y){}": "refused:a"}})
    assert old.status("A-1(x){}", "mlprogram") == "right"
    assert old.status("A-1(z){}", "mlprogram") is None
    found = {"A-1(x){}": "refused:b", "A-1(y){}": "refused:b", "A-1(z){}": "refused:b", "A-1(v){}": "wrong"}
    assert list(record.worse("A", "mlprogram", old, found)) == [
        "A A-1(x){} (mlprogram): right became refused:b", "A A-1(v){} (mlprogram): refused became wrong",
    ]  # fmt: skip
