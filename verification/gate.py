"""The gate of a conversion: a package that computes something else does not take the output's name."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coregraft.custom_layers.bundle import Divided, keep_classes, parts_path
from coregraft.lowering import package
from coregraft.lowering.convert import Conversion
from coregraft.rewriter.errors import CoregraftError, UsageError
from coregraft.verification.result import Verification
from coregraft.verification.verify import verify

#: Errors for which a package is written unverified, with a warning: nothing is known to be wrong with it.
_UNVERIFIABLE = frozenset(
    {
        "lift-op-unsupported", "lift-format-unsupported", "lift-type-unsupported", "input-undrawable",
        "source-unrunnable", "reference-missing",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Gated:
    """What became of a package.

    Attributes:
        written: paths written, the package first.
        verification: the comparison; None when the package could not be verified.
        passed: False when the package computes something else and stands under ``*.failed``.
        warnings: why it could not be verified; that half precision is out of tolerance; undefined cases.
    """

    written: tuple[Path, ...]
    verification: Verification | None
    passed: bool
    warnings: tuple[str, ...] = ()


def save_verified(source: Any, done: Conversion, path: str | Path, *, draws: int = 1, seed: int = 0) -> Gated:
    """Write a package, verify it where it stands, and only then give it its name.

    A package that is out of tolerance is written as ``<path>.failed`` with its report as ``<path>.failed.json``; what
    stood at ``path`` stays. A half-precision package is out of tolerance for good only when it also is with rounding
    ignored; when rounding alone does it, the package is written and a warning names the first layer that drifts.

    Raises:
        UsageError: ``output-suffix``; ``output-unwritable``.
    """
    path = Path(path)
    if isinstance(done, Divided):
        path = parts_path(path)
    try:
        holder = tempfile.TemporaryDirectory(prefix=".coregraft-", dir=path.parent)
    except OSError as error:
        text = f'cannot write "{path}": {error.strerror or error}'
        raise UsageError("output-unwritable", text, node=str(path)) from error
    with holder as folder:
        fresh = Path(folder) / path.name
        written = done.save(fresh)
        try:
            more: dict[str, Any] = {"seed": seed}
            if isinstance(done, Divided):
                more["references"] = done.references
            found = verify(source, fresh, draws=draws, layers=False, **more)
            exact = found
            if not found.ok:
                if found.precision == "fp16":
                    exact = verify(source, fresh, draws=1, layers=False, fp16="exact", **more)
                found = verify(source, fresh, draws=1, layers=True, **more)
        except CoregraftError as error:
            if error.code not in _UNVERIFIABLE:
                raise
            return Gated(_place(written, fresh, path), None, True, (f"not verified: {error}",))
        if not exact.ok:
            failed = path.with_name(path.name + ".failed")
            package.move(fresh, failed)
            report = failed.with_name(failed.name + ".json")
            report.write_text(json.dumps(found.as_dict(), indent=2) + "\n", encoding="utf-8")
            return Gated((failed, report), found, False, tuple(found.warnings))
        warnings = [*found.warnings, *([] if found.ok else [_drifts(found)])]
        return Gated(_place(written, fresh, path), found, True, tuple(warnings))


def _place(written: list[Path], fresh: Path, path: Path) -> tuple[Path, ...]:
    """Move what was written to where it belongs; an edited file that is there already is left alone."""
    placed = [path]
    keep_classes(path, fresh)
    package.move(fresh, path)
    for beside in written[1:]:
        wanted = path.parent / beside.relative_to(fresh.parent)
        if package.place_text(wanted, beside.read_text(encoding="utf-8")):
            placed.append(wanted)
    return tuple(placed)


def _drifts(found: Verification) -> str:
    worst = next(c for c in found.outputs if not c.ok)
    first = found.drift.first if found.drift is not None else None
    where = f"; the first layer that drifts is {first.op}" if first is not None else ""
    return f'half precision is out of tolerance at output "{worst.name}" ({worst.why}){where}'
