"""What a conversion falls back to, by model format; told without loading any of it.

Shape inference asks for what is registered at the first op that it does not know, in commands that never convert too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coregraft.lowering.fallback import Fallback


def register() -> None:
    """Make the cut the fallback of ML Programs, and custom layers that of neural networks."""
    from coregraft.custom_layers import own  # noqa: F401  # it types the ops that were moved to a domain of their own
    from coregraft.lowering.fallback import provide

    provide("mlprogram", _islands)
    provide("neuralnetwork", _custom_layers)


def _islands() -> Fallback:
    from coregraft.custom_layers.islands import Islands

    return Islands()


def _custom_layers() -> Fallback:
    from coregraft.custom_layers.layers import CustomLayers

    return CustomLayers()
