"""The committed results of the other settings: for each, the cases that end in another way there than at the base."""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.outcome import rank
from tests.conformance.setting import Setting

#: Of what is new since the setting was tried last.
_UNTRIED = "untried"


@dataclass(frozen=True)
class Differences:
    """What is on record of the other settings.

    Attributes:
        path: the file.
        rows: by setting and key (of a case or variant), the status where it is not the one at the base.
        one_in: it is a record of the sample with this denominator, see :func:`drawn`.
    """

    path: Path
    rows: Mapping[str, Mapping[str, str]]
    one_in: int = 1

    @staticmethod
    def load(path: Path, one_in: int = 1) -> Differences:
        """Read a record; an empty one where there is no file yet."""
        return Differences(path, json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}, one_in)

    def before(self, setting: Setting, base: Mapping[str, str], key: str) -> str:
        """The status on record of a key, which the base has unless it is new; one that was not tried may be refused."""
        row = self.rows.get(str(setting))
        known = base.get(key, _UNTRIED) if row is not None and drawn(key, self.one_in) else _UNTRIED
        return (row or {}).get(key, known)

    def worse(self, setting: Setting, base: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
        """What got worse, in words."""
        before = {key: self.before(setting, base, key) for key in found}
        return [f"{k} ({setting}): {before[k]} became {found[k]}" for k in found if rank(found[k]) < rank(before[k])]

    def settle(self, setting: Setting, base: Mapping[str, str], found: Mapping[str, str], *, update: bool) -> int:
        """Print what got worse, and write the results into the record if that is asked for and nothing did.

        What was not tried stays as it is, as far as the base still has it.

        Returns:
            The exit status: 1 when something got worse, or ended in neither a right result nor a refusal.
        """
        declined = self.worse(setting, base, found)
        for line in declined:
            print(f"worse: {line}", file=sys.stderr)
        if update and not declined:
            row = {**self.rows.get(str(setting), {}), **found}
            kept = {k: v for k, v in row.items() if drawn(k, self.one_in) and v != base.get(k, v)}
            self._write({**self.rows, str(setting): kept})
        return 1 if declined or not all(rank(status) for status in found.values()) else 0

    def add(self, keys: Iterable[str]) -> None:
        """Note that keys are new, and not tried yet in any setting on record."""
        new = {key: _UNTRIED for key in keys if drawn(key, self.one_in)}
        if new:
            self._write({setting: {**row, **new} for setting, row in self.rows.items()})

    def _write(self, rows: Mapping[str, Mapping[str, str]]) -> None:
        self.path.write_text(json.dumps(rows, indent=0, sort_keys=True) + "\n", encoding="utf-8")


def drawn(key: str, one_in: int, remainder: int = 0) -> bool:
    """Whether a key belongs to a sample: one in so many, whatever other keys there are."""
    return zlib.crc32(key.encode()) % one_in == remainder
