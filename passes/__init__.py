"""The rewrites: one rule or pass a file, in folders by topic; ``catalogue.py`` names them all."""

from coregraft.passes.catalogue import PASSES
from coregraft.rewriter.registry import Plugin

PLUGIN = Plugin(name="", passes=PASSES)
