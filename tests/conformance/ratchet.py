"""The committed results, which only move up: what every case ended as in both forms, and which are within reach."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.cases import FORMS, Form
from tests.conformance.outcome import rank

FOLDER = Path(__file__).parent
#: Model formats, and where their results are kept.
FILES = {"mlprogram": FOLDER / "ratchet.json", "neuralnetwork": FOLDER / "ratchet_neuralnetwork.json"}
#: What differs from them in other settings.
OTHERS_FILE = FOLDER / "ratchet_others.json"


@dataclass(frozen=True)
class Entry:
    """What is on record of a case in one form.

    Attributes:
        status: see :class:`~tests.conformance.outcome.Outcome`.
        beyond: why it is out of reach, or None.
    """

    status: str
    beyond: str | None = None

    @property
    def within_reach(self) -> bool:
        return self.beyond is None and not self.status.startswith("not-applicable")


@dataclass(frozen=True)
class Ratchet:
    """The record of one model format.

    Attributes:
        onnx: release of the ``onnx`` package whose cases these are.
        target: deployment target.
        families: case id -> what the case is about.
        entries: (case id, form) -> its entry.
    """

    onnx: str
    target: str
    families: Mapping[str, str]
    entries: Mapping[tuple[str, Form], Entry]

    @staticmethod
    def load(path: Path) -> Ratchet:
        """Read a record."""
        return Ratchet.parse(path.read_text(encoding="utf-8"))

    @staticmethod
    def parse(text: str) -> Ratchet:
        """A record from its JSON."""
        data = json.loads(text)
        entries, families = {}, {}
        for case, row in data["cases"].items():
            families[case] = row["family"]
            for form in FORMS:
                entries[case, form] = Entry(*row[form])
        return Ratchet(data["onnx"], data["target"], families, entries)

    def text(self) -> str:
        """The record as JSON, one case a line."""
        rows = []
        for case in sorted(self.families):
            row: dict[str, object] = {"family": self.families[case]}
            for form in FORMS:
                entry = self.entries[case, form]
                row[form] = [entry.status] if entry.beyond is None else [entry.status, entry.beyond]
            rows.append(f"{json.dumps(case)}: {json.dumps(row)}")
        head = f'"onnx": {json.dumps(self.onnx)},\n"target": {json.dumps(self.target)}'
        return "{\n" + head + ',\n"cases": {\n' + ",\n".join(rows) + "\n}}\n"

    def statuses(self) -> dict[str, str]:
        """The status of each case in each form, by :func:`key_of`."""
        return {key_of(case, form): entry.status for (case, form), entry in self.entries.items()}

    def figures(self, form: Form) -> dict[str, int]:
        """How many cases ended how: of those within reach, and of the others that apply."""
        counts: Counter[str] = Counter()
        for (_, which), entry in self.entries.items():
            if which != form:
                continue
            kind = entry.status.partition(":")[0]
            if kind == "not-applicable":
                counts["not-applicable"] += 1
                continue
            counts["within reach" if entry.within_reach else "beyond reach"] += 1
            counts[f"{kind} within reach" if entry.within_reach else f"{kind} beyond reach"] += 1
        return dict(sorted(counts.items()))

    def share(self, form: Form) -> float:
        """Which part of the cases within reach is right."""
        figures = self.figures(form)
        return figures.get("right within reach", 0) / figures["within reach"]


def key_of(case: str, form: Form) -> str:
    """The name of a case in one form."""
    return f"{case} {form}"


def worse(old: Ratchet, new: Mapping[tuple[str, Form], Entry]) -> Iterator[str]:
    """The cases that got worse, in words."""
    for key in sorted(new):
        before, after = old.entries.get(key), new[key]
        if before is not None and rank(after.status) < rank(before.status):
            case, form = key
            yield f"{case} ({form}): {before.status} became {after.status}"
