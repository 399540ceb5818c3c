"""What the author of a pass imports."""

from coregraft.rewriter.contract import Context, Equivalence, Fact, Finding, Pass
from coregraft.rewriter.match import Match, NoMatch, OpView, ValueView
from coregraft.rewriter.rewriter import Rewriter
from coregraft.rewriter.rule import OpBuilder, Rule, RuleGroup

BIT_EXACT = Equivalence.BIT_EXACT
REASSOCIATING = Equivalence.REASSOCIATING
APPROXIMATE = Equivalence.APPROXIMATE
LOSSY = Equivalence.LOSSY

__all__ = [
    "APPROXIMATE",
    "BIT_EXACT",
    "LOSSY",
    "REASSOCIATING",
    "Context",
    "Equivalence",
    "Fact",
    "Finding",
    "Match",
    "NoMatch",
    "OpBuilder",
    "OpView",
    "Pass",
    "Rewriter",
    "Rule",
    "RuleGroup",
    "ValueView",
]
