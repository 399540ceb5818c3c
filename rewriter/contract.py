"""The pass contract: what a pass is, what it promises, and what it is given."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from coregraft.rewriter.graph import Graph
from coregraft.rewriter.rewriter import Rewriter
from coregraft.rewriter.target import Target

if TYPE_CHECKING:
    from coregraft.rewriter.rule import Rule


class Equivalence(enum.Enum):
    """How the results of a rewritten graph relate to those of the original."""

    BIT_EXACT = "bit-exact"
    REASSOCIATING = "reassociating"
    APPROXIMATE = "approximate"
    LOSSY = "lossy"


class Fact(enum.StrEnum):
    """What can be known of a graph. A pass requires, ensures or invalidates facts; each has a checker."""

    INTERNAL_OPSET = "internal-opset"
    TYPED = "typed"
    STATIC_SHAPES = "static-shapes"
    RANK_AT_MOST_5 = "rank-at-most-5"


@dataclass(frozen=True)
class Finding:
    """One thing that ``check`` found: the rule's code and name, the op it is about, and what is wrong."""

    code: str
    pass_name: str
    node: str
    message: str


@dataclass(frozen=True)
class Pass:
    """A rewrite of a whole graph. A frozen dataclass whose fields are its options, with defaults.

    Class attributes:
        name: kebab-case, taken from the class name.
        code: code of the hazard it answers, such as ``CG101``; empty for a clean-up.
        equivalence: what it promises of the results; ``bound`` is the relative error when APPROXIMATE.
        compares: what checked mode compares: every value that was recomputed, or, for a pass that changes values on
            the way on purpose (such as the constants of a mask), the graph's outputs alone.
        requires, ensures, invalidates: facts.
    """

    name: ClassVar[str] = ""
    code: ClassVar[str] = ""
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    bound: ClassVar[float] = 0.0
    compares: ClassVar[Literal["region", "outputs"]] = "region"
    requires: ClassVar[frozenset[Fact]] = frozenset({Fact.INTERNAL_OPSET, Fact.TYPED})
    ensures: ClassVar[frozenset[Fact]] = frozenset()
    invalidates: ClassVar[frozenset[Fact]] = frozenset()

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "name" not in cls.__dict__:
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", cls.__name__.lstrip("_")).lower()

    def run(self, g: Graph, ctx: Context) -> None:
        """Rewrite ``g`` through ``ctx.rewriter(g)``. Nothing else may be changed, and nothing is returned."""
        raise NotImplementedError

    def check(self, g: Graph, ctx: Context) -> list[Finding]:
        """What this pass would rewrite, without rewriting it."""
        return []

    @classmethod
    def summary(cls) -> str:
        """The first line of the documentation."""
        return (cls.__doc__ or "").strip().splitlines()[0] if cls.__doc__ else cls.__name__

    def options(self) -> dict[str, Any]:
        """The options that are not at their default, by the name that users write: ``min-blowup``."""
        defaults = {
            f.name: f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
            for f in dataclasses.fields(self)
        }
        given = {name: getattr(self, name) for name in defaults}
        return {name.replace("_", "-"): value for name, value in given.items() if value != defaults[name]}

    def spec(self) -> str:
        """The pass as text: ``replace-dilated-conv{min-blowup=9}``, options at their default left out."""
        from coregraft.rewriter.registry import registered_name

        options = ",".join(f"{name}={_text(value)}" for name, value in self.options().items())
        return registered_name(type(self)) + (f"{{{options}}}" if options else "")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return "+".join(_text(v) for v in value)
    text = str(value)
    return f'"{text}"' if isinstance(value, str) and not re.fullmatch(r"[\w.:/*-]+", text) else text


@dataclass
class Context:
    """What a pass is given besides the graph, and where it leaves its statistics.

    Attributes:
        target: what the graph is for; ``Target.any()`` when nothing in particular.
        checked: whether to spend time on finding mistakes of passes.
        counts: statistics of the running pass: rules fired, anything it counts itself.
        notes: remarks for the report.
        declined: reasons for which rules did not fire, counted; filled in checked mode only.
        present: (domain, type) of all ops as the pass finds the graph, those in bodies too; None when nobody counted.
    """

    target: Target = field(default_factory=Target.any)
    checked: bool = False
    rewrite_limit: int | None = None
    pass_name: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    declined: Counter[str] = field(default_factory=Counter)
    present: Set[tuple[str, str]] | None = None
    _rewriters: dict[int, Rewriter] = field(default_factory=dict, repr=False)

    def rewriter(self, g: Graph) -> Rewriter:
        """The rewriter of a graph for the running pass; the same one at every call."""
        known = self._rewriters.get(id(g))
        if known is None or known.graph is not g:
            known = self._rewriters[id(g)] = Rewriter(g, self.pass_name, self.target)
        return known

    def rewrite(self, g: Graph, rules: Sequence[Rule]) -> int:
        """Run rules over the graph and its bodies to a fixed point; returns how many rewrites took place."""
        from coregraft.rewriter.driver import rewrite_greedily

        return rewrite_greedily(g, rules, self)

    def run(self, pass_: Pass, g: Graph) -> bool:
        """Run another pass as a part of this one; returns whether it changed anything."""
        rewriter = self.rewriter(g)
        before, name = rewriter.events.total(), rewriter.pass_name
        rewriter.pass_name = pass_.name
        try:
            pass_.run(g, self)
        finally:
            rewriter.pass_name = name
        return rewriter.events.total() != before

    def count(self, what: str, n: int = 1) -> None:
        """Add to a statistic of the running pass."""
        self.counts[what] += n

    def note(self, text: str) -> None:
        """Leave a remark for the report."""
        if text not in self.notes:
            self.notes.append(text)

    def events(self) -> Counter[str]:
        """All events of the running pass, those in bodies included."""
        return sum((r.events for r in self._rewriters.values()), Counter())
