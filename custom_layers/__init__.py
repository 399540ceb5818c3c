"""What happens to an op that has no lowering."""

from coregraft.rewriter.registry import Plugin

PLUGIN = Plugin(name="", custom_layers={"rungs": "coregraft.custom_layers.rungs:register"})
