"""The table of deployment targets: what each takes, in both formats. Passes, ``check`` and the emitters read it."""

from __future__ import annotations

import functools

from coregraft.lowering.registry import table_for
from coregraft.rewriter.errors import UsageError
from coregraft.rewriter.target import FORMATS, ORDER, Target, frozen_ops
from coregraft.rewriter.types import DType

DEFAULT = "iOS17"
#: Highest rank of a tensor in Core ML, in either format (H4.02).
MAX_RANK = 5
#: Element types that a model's inputs and outputs may have (Core ML's ``MLMultiArrayDataType``; fp16 from iOS 16).
_IO_DTYPES = frozenset({DType.FLOAT, DType.INT32})


def get(name: str = DEFAULT, format: str = "mlprogram") -> Target:
    """The target of a name, in a format.

    Raises:
        UsageError: ``target-unknown``; ``format-unknown``.
    """
    if name not in ORDER:
        raise UsageError("target-unknown", f'deployment target "{name}" is unknown', hint=f"one of {', '.join(ORDER)}")
    if format not in FORMATS:
        raise UsageError("format-unknown", f'format "{format}" is unknown', hint=f"one of {', '.join(FORMATS)}")
    return _build(name, format, frozenset(table_for(name, format).items()))


def every() -> list[Target]:
    """All targets in both formats, oldest first."""
    return [get(name, kind) for kind in FORMATS for name in ORDER]


@functools.cache
def _build(name: str, format: str, table: frozenset[tuple[tuple[str, str], object]]) -> Target:
    # The table is part of the key, so that a lowering registered later is seen.
    program = format == "mlprogram"
    return Target(
        name=name,
        format=format,
        ops=frozen_ops({key: lowering.attrs for key, lowering in table_for(name, format).items()}),
        max_rank=MAX_RANK,
        io_dtypes=_IO_DTYPES | {DType.FLOAT16} if program and name != "iOS15" else _IO_DTYPES,
        has_fp16=program,
    )
