"""What happens to an op that has no lowering."""

from coregraft.rewriter.registry import Plugin

PLUGIN = Plugin(
    name="",
    custom_layers={
        "mlprogram": "coregraft.custom_layers.islands:register",
        "neuralnetwork": "coregraft.custom_layers.layers:register",
    },
)
