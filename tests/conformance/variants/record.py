"""The committed results of the variants: which were tried, and each that is not right; they only get better."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.differences import Differences
from tests.conformance.outcome import rank

FILE = Path(__file__).with_name("record.json")
#: What differs from it in other settings, of one variant in so many.
OTHERS_FILE = Path(__file__).with_name("record_others.json")
OTHERS_ONE_IN = 8
FORMATS = ("mlprogram", "neuralnetwork")


@dataclass(frozen=True)
class FamilyRecord:
    """What is on record of the variants of one op.

    Attributes:
        marks: the :func:`mark` of each variant that a reference can run.
        attributes: by attribute, in how many of them it is given.
        missed: by format, the variants that are not right, with what became of them.
    """

    marks: frozenset[str]
    attributes: Mapping[str, int]
    missed: Mapping[str, Mapping[str, str]]

    @property
    def tried(self) -> int:
        """How many variants there are."""
        return len(self.marks)

    def sampled(self, one_in: int) -> int:
        """How many variants a sample has, see :func:`~tests.conformance.differences.drawn`; of a power of two."""
        return sum(int(mark, 16) % one_in == 0 for mark in self.marks)

    def status(self, label: str, format: str) -> str | None:
        """What became of a variant; None of one that is not on record."""
        return self.missed[format].get(label, "right" if mark(label) in self.marks else None)

    def right(self, format: str) -> int:
        """How many are right."""
        return self.tried - len(self.missed[format])

    def right_with(self, attribute: str, format: str) -> int:
        """How many of those that give an attribute are right."""
        missed = sum(attribute in given(label) for label in self.missed[format])
        return self.attributes[attribute] - missed


def mark(label: str) -> str:
    """A variant's label in six letters: enough to know it again among those of its op."""
    return f"{zlib.crc32(label.encode()) & 0xFFFFFF:06x}"


def given(label: str) -> list[str]:
    """The attributes that a variant's label names."""
    attributes = label.rpartition("{")[2].partition("}")[0]
    return re.findall(r"(?:^|,)(\w+)=", attributes)


def load() -> dict[str, FamilyRecord]:
    """The record by op; empty where there is none yet."""
    if not FILE.exists():
        return {}
    data = json.loads(FILE.read_text(encoding="utf-8"))
    return {
        name: FamilyRecord(frozenset(row["marks"].split()), row["attributes"], {f: row.get(f, {}) for f in FORMATS})
        for name, row in data.items()
    }


def save(record: Mapping[str, FamilyRecord]) -> None:
    """Write the record, one variant that is not right a line, and the marks of an op's variants in one."""
    data: dict[str, dict[str, object]] = {}
    for name, row in record.items():
        missed = {kind: dict(found) for kind, found in row.missed.items() if found}
        data[name] = {"marks": " ".join(sorted(row.marks)), "attributes": dict(row.attributes), **missed}
    FILE.write_text(json.dumps(data, indent=0, sort_keys=True) + "\n", encoding="utf-8")


def others() -> Differences:
    """The record of the other settings."""
    return Differences.load(OTHERS_FILE, OTHERS_ONE_IN)


def statuses(record: Mapping[str, FamilyRecord], format: str, labels: Mapping[str, Collection[str]]) -> dict[str, str]:
    """The statuses on record of variants, which are given by op; what is not on record is left out."""
    found = {label: record[name].status(label, format) for name in labels if name in record for label in labels[name]}
    return {label: status for label, status in found.items() if status is not None}


def worse(name: str, format: str, old: FamilyRecord | None, found: Mapping[str, str]) -> Iterator[str]:
    """The variants that got worse, in words; one that is not on record yet may be refused."""
    for label, status in found.items():
        before = (old.status(label, format) if old is not None else None) or "refused"
        if rank(status) < rank(before):
            yield f"{name} {label} ({format}): {before} became {status}"
