"""An example plugin: what it offers, as names; nothing is imported until it is used."""

from coregraft.rewriter.registry import Plugin

PLUGIN = Plugin(
    "example",
    passes={"square-to-mul": "coregraft_example.square_to_mul:SquareToMul"},
    custom_layers={"squash": "coregraft_example.layers:register"},
)
