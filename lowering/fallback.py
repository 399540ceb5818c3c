"""Where another room says what becomes of an op that has no lowering. This room only knows the shape of the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from coregraft.rewriter.errors import UnsupportedError, UsageError
from coregraft.rewriter.graph import Op
from coregraft.rewriter.registry import load_custom_layers

if TYPE_CHECKING:
    from coregraft.lowering.convert import Conversion
    from coregraft.lowering.emitter import Emitter
    from coregraft.rewriter.graph import Graph

MODES: tuple[str, ...] = ("auto", "custom", "cut", "error")


#: (mode, format) -> why they do not go together, and what does (H8.01).
_UNAVAILABLE = {
    ("cut", "neuralnetwork"): (
        "a neuralnetwork is not cut at an op: it has custom layers",
        "--fallback custom makes the op a custom layer",
    ),
    ("custom", "mlprogram"): (
        "ML Programs have no custom layers",
        "--fallback cut divides the model at the op; --format neuralnetwork has custom layers",
    ),
}


class Fallback(Protocol):
    """Takes the ops of one conversion that have no lowering."""

    def emit(self, b: Emitter, op: Op, why: UnsupportedError) -> Sequence[Any]:
        """Emit an op that its lowering refuses, or that has none; one MIL var per output.

        Args:
            why: the refusal.

        Raises:
            UnsupportedError: it cannot take the op either; the code says why.
        """

    def files(self, model: str) -> Mapping[str, str]:
        """What the user needs besides the model: text by path, relative to the model's folder.

        Args:
            model: name of the model's file, without its suffix.
        """

    def taken(self) -> Sequence[Mapping[str, str]]:
        """One entry per op taken, for the report: ``op``, ``rung``, and what it became."""


@runtime_checkable
class Divider(Fallback, Protocol):
    """A fallback that emits stand-ins, and then divides the model around the ops that it took."""

    def divides(self) -> bool:
        """Whether the model has to be divided; asked when all of it has been emitted."""

    def divide(self, graph: Graph, whole: Conversion, ml_pipeline: str) -> Conversion:
        """The conversion of the graph in parts.

        Args:
            graph: as lowered.
            whole: the conversion with the stand-ins; its report lacks what can only be known of parts.
            ml_pipeline: which of coremltools' own passes run.

        Raises:
            UnsupportedError: it cannot be divided.
        """


@runtime_checkable
class Owner(Fallback, Protocol):
    """A fallback that takes ops which have a lowering, too."""

    def own(self, g: Graph, names: Iterable[str]) -> None:
        """See that ops come to the fallback, out of reach of passes and emitters.

        Args:
            g: at the internal opset, typed; changed in place.
            names: op types, with their domain in front where they have one.

        Raises:
            UsageError: ``own-unknown``.
        """


_FACTORIES: dict[str, Callable[[], Fallback]] = {}


def provide(format: str, factory: Callable[[], Fallback]) -> None:
    """Say what makes the fallback of a conversion to a model format."""
    _FACTORIES[format] = factory


def fallback_for(format: str, mode: str) -> Fallback | None:
    """A fresh fallback for one conversion; None where ops without a lowering are an error.

    Args:
        format: model format.
        mode: ``auto`` (what the format has), ``custom`` (custom layers: neuralnetwork only), ``cut`` (the model in
            parts: ML Programs only), or ``error``.

    Raises:
        UsageError: ``fallback-unknown``; ``fallback-unavailable``.
    """
    if mode not in MODES:
        raise UsageError("fallback-unknown", f'fallback "{mode}" is unknown', hint=f"one of {', '.join(MODES)}")
    if (mode, format) in _UNAVAILABLE:
        why, hint = _UNAVAILABLE[mode, format]
        raise UsageError("fallback-unavailable", why, hint=hint)
    if mode == "error":
        return None
    load_custom_layers()
    factory = _FACTORIES.get(format)
    return factory() if factory else None
