"""Graph → MIL → Core ML. The only room that imports coremltools."""

from coregraft.rewriter.registry import Plugin

PLUGIN = Plugin(name="", lowerings={"emitters": "coregraft.lowering.registry:load_families"})
