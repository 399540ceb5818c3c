"""Which function lifts which kind of layer."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from coregraft.rewriter.errors import UsageError

if TYPE_CHECKING:
    from coregraft.lowering.lift.nn.network import Layer, Network

LayerFn = Callable[["Network", "Layer"], None]

_TABLE: dict[str, LayerFn] = {}
_TOPICS = ("control", "custom", "elementwise", "recurrent", "spatial", "tensor", "windows")


def layers(*kinds: str) -> Callable[[LayerFn], LayerFn]:
    """Register the decorated function for some kinds of layer, by their field in ``NeuralNetworkLayer``.

    Raises:
        UsageError: ``lifting-duplicate``.
    """

    def decorate(lift: LayerFn) -> LayerFn:
        for kind in kinds:
            if kind in _TABLE:
                raise UsageError("lifting-duplicate", f"two functions lift the layer {kind}")
            _TABLE[kind] = lift
        return lift

    return decorate


def table() -> Mapping[str, LayerFn]:
    """Kind of layer -> what lifts it."""
    _load()
    return MappingProxyType(_TABLE)


@functools.cache
def _load() -> None:
    for topic in _TOPICS:
        importlib.import_module(f"coregraft.lowering.lift.nn.{topic}")
