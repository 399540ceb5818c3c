"""The errors a user can meet: each has a stable code, says where, and what would help.

Codes are kebab-case, never renamed and never reused; ``docs/errors.md`` lists them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from coregraft.rewriter.graph import Graph


class CoregraftError(Exception):
    """Base of every error that reaches a user.

    Attributes:
        code: stable identifier of the kind of failure, for scripts and ``--json``.
        node: the op, value or file the error is about, or None.
        hint: what would help, or None.
    """

    exit_code: ClassVar[int] = 4

    def __init__(self, code: str, message: str, *, node: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.node = node
        self.hint = hint

    def __str__(self) -> str:
        where = f" (at {self.node})" if self.node else ""
        hint = f" Hint: {self.hint}" if self.hint else ""
        return f"[{self.code}] {self.message}{where}{hint}"

    def as_dict(self) -> dict[str, str | None]:
        """The error as the ``error`` member of the JSON envelope."""
        return {"code": self.code, "message": self.message, "node": self.node, "hint": self.hint}


class UsageError(CoregraftError):
    """The caller asked for something that does not exist or makes no sense (exit 2)."""

    exit_code = 2


class InputError(CoregraftError):
    """The input model or file is broken, hostile or missing something (exit 3)."""

    exit_code = 3


class UnsupportedError(CoregraftError):
    """The model is fine, but it cannot be converted as asked (exit 4)."""

    exit_code = 4


class GraphError(CoregraftError):
    """A graph breaks a structural invariant: an input at fault, or a bug in a pass."""

    exit_code = 3


class PassError(CoregraftError):
    """A pass failed or broke its contract; the graph was rolled back to before it.

    Attributes:
        spec: the failing pass with its options, when a manager raised this; else empty.
        graph: the graph as it was before it.
        reproducer: the folder of the reproducer bundle, or None.
    """

    spec: str = ""
    graph: Graph | None = None
    reproducer: Path | None = None
