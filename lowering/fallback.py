"""Where another room says what becomes of an op that has no lowering. This room only knows the shape of the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from coregraft.rewriter.errors import UsageError
from coregraft.rewriter.graph import Op
from coregraft.rewriter.registry import registry

if TYPE_CHECKING:
    from coregraft.lowering.emitter import Emitter

MODES: tuple[str, ...] = ("auto", "custom", "cut", "error")


class Fallback(Protocol):
    """Takes the ops of one conversion that have no lowering."""

    def emit(self, b: Emitter, op: Op) -> Sequence[Any]:
        """Emit an op; one MIL var per output.

        Raises:
            UnsupportedError: it cannot take the op either; the code says why.
        """

    def files(self) -> Mapping[str, str]:
        """File name -> text of what the user needs besides the model, to be written next to it."""

    def taken(self) -> Sequence[Mapping[str, str]]:
        """One entry per op taken, for the report: ``op``, ``rung``, and what it became."""


_FACTORIES: dict[str, Callable[[], Fallback]] = {}
_LOADED: set[str] = set()


def provide(format: str, factory: Callable[[], Fallback]) -> None:
    """Say what makes the fallback of a conversion to a model format."""
    _FACTORIES[format] = factory


def fallback_for(format: str, mode: str) -> Fallback | None:
    """A fresh fallback for one conversion; None where ops without a lowering are an error.

    Args:
        format: model format.
        mode: ``auto`` or ``custom`` (a custom layer where the format has them), ``error``, or ``cut``.

    Raises:
        UsageError: ``fallback-unknown``; ``fallback-unavailable``.
    """
    if mode not in MODES:
        raise UsageError("fallback-unknown", f'fallback "{mode}" is unknown', hint=f"one of {', '.join(MODES)}")
    if mode == "cut":
        raise UsageError(
            "fallback-unavailable", "this version cannot cut a model at an op yet",
            hint="--format neuralnetwork makes the op a custom layer; --fallback error names what is missing",
        )  # fmt: skip
    if mode == "error":
        return None
    for name, provider in registry().items["custom_layers"].items():
        if name not in _LOADED:
            _LOADED.add(name)
            provider.load()()
    factory = _FACTORIES.get(format)
    return factory() if factory else None
