"""A sample of the variants of every op, in both formats: none is wrong, and none is worse than on record.

``python -m tests.conformance.variants.run`` (part of ``make conformance``) tries them all.
"""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from tests.conformance.outcome import rank
from tests.conformance.variants import record
from tests.conformance.variants.variant import attempt, case, families, labelled

#: Of the variants of an op, one in so many is tried; the first one depends on the op and the format.
_ONE_IN = 16
_PARTS = 12


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
                found = {c.id: attempt(c, kind).status for c in cases if c.excluded is None}
            lines += record.worse(name, kind, known[name], found)
    assert not lines, "\n".join(lines)


def test_every_family_is_on_record() -> None:
    assert sorted(record.load()) == sorted(families())


def test_nothing_on_record_is_wrong() -> None:
    rows = record.load().items()
    found = [(name, label, s) for name, row in rows for m in row.missed.values() for label, s in m.items()]
    assert [line for line in found if not rank(line[2])] == []
