"""Graph → MIL → Core ML. The only room that imports coremltools."""

import logging

from coregraft.rewriter.registry import Plugin

PLUGIN = Plugin(name="", lowerings={"emitters": "coregraft.lowering.registry:load_families"})

# Off macOS coremltools warns at import, eight times, that it cannot run models. Nothing here runs models with it.
logging.getLogger("coremltools").addFilter(lambda record: not record.getMessage().startswith("Failed to load _ML"))
