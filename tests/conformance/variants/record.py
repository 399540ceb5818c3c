"""The committed results of the variants: how many were tried, and each that is not right; they only get better."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.outcome import rank

FILE = Path(__file__).with_name("record.json")
FORMATS = ("mlprogram", "neuralnetwork")


@dataclass(frozen=True)
class FamilyRecord:
    """What is on record of the variants of one op.

    Attributes:
        tried: how many there are that a reference can run.
        attributes: by attribute, in how many of them it is given.
        missed: by format, the variants that are not right, with what became of them.
    """

    tried: int
    attributes: Mapping[str, int]
    missed: Mapping[str, Mapping[str, str]]

    def right(self, format: str) -> int:
        """How many are right."""
        return self.tried - len(self.missed[format])

    def right_with(self, attribute: str, format: str) -> int:
        """How many of those that give an attribute are right."""
        missed = sum(attribute in given(label) for label in self.missed[format])
        return self.attributes[attribute] - missed


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
        name: FamilyRecord(row["tried"], row.get("attributes", {}), {f: row.get(f, {}) for f in FORMATS})
        for name, row in data.items()
    }


def save(record: Mapping[str, FamilyRecord]) -> None:
    """Write the record, one variant a line."""
    data: dict[str, dict[str, object]] = {}
    for name, row in record.items():
        missed = {kind: dict(found) for kind, found in row.missed.items() if found}
        data[name] = {"tried": row.tried, "attributes": dict(row.attributes), **missed}
    FILE.write_text(json.dumps(data, indent=0, sort_keys=True) + "\n", encoding="utf-8")


def worse(name: str, format: str, old: FamilyRecord | None, found: Mapping[str, str]) -> Iterator[str]:
    """The variants that got worse, in words.

    The record names no right ones: of an op that is on it, a new variant counts as right before, so one that is
    refused wants the op's entry taken out of the record first.
    """
    missed = old.missed[format] if old is not None else {}
    for label, status in found.items():
        before = missed.get(label, "right" if old is not None else "refused")
        if rank(status) < rank(before):
            yield f"{name} {label} ({format}): {before} became {status}"
