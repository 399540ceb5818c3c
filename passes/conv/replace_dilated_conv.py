"""CG101: dilated convolutions as ordinary ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.conv import dilated
from coregraft.passes.conv.dilation_cost import (
    Cost,
    blow_up,
    inflated_weight_bytes,
    polyphase_cost,
    taps_cost,
    zero_inflate_cost,
)
from coregraft.passes.conv.geometry import ConvGeometry, conv_geometry
from coregraft.passes.conv.phases import AxisPhases, axis_phases
from coregraft.rewriter.errors import UsageError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.passes import REASSOCIATING, Context, NoMatch, Rule, ValueView

STRATEGIES = ("auto", "polyphase", "taps", "zero-inflate", "keep")


@dataclass(frozen=True, slots=True)
class Choice:
    """What is done with one convolution, and on what figures. ``costs`` is empty when a length is not known."""

    strategy: str
    geometry: ConvGeometry
    plan: tuple[AxisPhases, ...]
    costs: dict[str, Cost]
    kernel_bytes: int

    def __str__(self) -> str:
        g = self.geometry
        text = (
            f"dilations {[a.dilation for a in g.axes]} on kernel {[a.kernel for a in g.axes]} reach over "
            f"{g.max_extent} elements: filled with zeros the kernel grows {blow_up(g):.3g}x to "
            f"{self.kernel_bytes / 1e6:.3g} MB; {self.strategy}"
        )
        cost = self.costs.get(self.strategy)
        return text if cost is None else f"{text} ({cost}; zero-filled: {self.costs['zero-inflate']})"


@dataclass(frozen=True)
class ReplaceDilatedConv(Rule):
    """Compute dilated convolutions by ordinary ones, so that no backend has to materialise a kernel full of zeros.

    What it does
    ------------
    Replaces a Conv with dilation by one of

    * ``polyphase``: the axes are taken apart into their phases modulo the dilation (pad, reshape, transpose,
      reshape), the phases go to the batch, an ordinary convolution with the same weight follows, and the phases are
      put together again. For a stride ``s`` and dilation ``d`` only every ``gcd(s, d)``-th input element is read, and
      the rest of both is coprime: with a remaining stride of 1 the phases are a reshape, otherwise a strided slice
      each. Any stride, dilation, padding, group, 1-D to 3-D; no tensor of rank above 5; static lengths only.
    * ``taps``: one 1x1 convolution a tap on a shifted slice, summed (or, ``concat-taps``, concatenated for one 1x1
      convolution). Works for lengths that are not known.
    * ``zero-inflate``: the kernel with zeros in its gaps, written out; for backends that refuse dilation.
    * ``keep``: nothing.

    ``auto`` leaves a convolution alone unless the zero-filled kernel would be ``min-blowup`` times the kernel, or
    reach over more than ``max-extent`` elements, or take more than ``max-kernel-bytes``. Then it takes ``polyphase``
    or, up to ``max-taps`` taps, ``taps``, whichever is cheaper by the cost model in
    ``coregraft.passes.conv.dilation_cost``: multiplies plus ``memory-weight`` times bytes of weights, intermediates
    and movement; unless the zero-filled kernel is within extent and bytes and cheaper still, which is what ``keep``
    costs at worst. Weights must be constant; behind a DequantizeLinear they stay as they are, and only ``polyphase``
    will do. Nothing goes through ``space_to_batch``, which coremltools fuses back, wrongly (H2.05).

    Why it matters
    --------------
    A dilated convolution can take the memory of its zero-filled kernel: 121 times the weights for a 3x3 kernel at
    dilation 16. The Neural Engine's kernel limit (13 reported) applies to the extent with gaps, so such layers leave
    it.

    Example
    -------
    Before::

        y = Conv(x, w, dilations=[4, 4], kernel_shape=[3, 3], pads=[4, 4, 4, 4])

    After, for ``x: float[1,8,16,16]``::

        p = Pad(x, [0, 0, 4, 4, 0, 0, 4, 4])
        a = Transpose(Reshape(p, [1, 8, 6, 4, 24]), perm=[3, 0, 1, 2, 4])
        b = Reshape(Transpose(Reshape(a, [4, 48, 6, 4]), perm=[3, 0, 1, 2]), [16, 8, 6, 6])
        c = Conv(b, w, kernel_shape=[3, 3])
        d = Transpose(Reshape(c, [4, 4, 32, 4]), perm=[1, 2, 3, 0])
        y = Reshape(Transpose(Reshape(d, [4, 1, 8, 4, 16]), perm=[1, 2, 3, 0, 4]), [1, 8, 16, 16])

    Equivalence
    -----------
    Reassociating. ``polyphase`` adds the same products in the same order; ``taps`` sums over channels first, then
    over taps; ``zero-inflate`` adds zeros. A runtime may sum each of them in another order.

    Options
    -------
    * ``strategy``: ``auto``, ``polyphase``, ``taps``, ``zero-inflate`` or ``keep``.
    * ``min-blowup``: growth of the kernel when filled with zeros from which on ``auto`` acts (a ratio).
    * ``max-extent``: reach of the kernel, in elements of an axis, beyond which ``auto`` acts.
    * ``max-kernel-bytes``: bytes of the zero-filled kernel beyond which ``auto`` acts.
    * ``max-taps``: the most taps for which ``auto`` considers ``taps``.
    * ``concat-taps``: ``taps`` by one convolution over concatenated slices (groups: only 1).
    * ``memory-weight``: multiplies that a byte of memory is worth.

    Sources
    -------
    Hazard catalogue H1.01 (memory and rewrites), H1.02 (kernel limit counts the gaps), H2.05 (why not
    space_to_batch).
    """

    code: ClassVar[str] = "CG101"
    equivalence: ClassVar = REASSOCIATING
    strategy: str = "auto"
    min_blowup: float = 4.0
    max_extent: int = 13
    max_kernel_bytes: int = 16 * 2**20
    max_taps: int = 4
    concat_taps: bool = False
    memory_weight: float = 16.0

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise UsageError(
                "option-value",
                f'replace-dilated-conv has no strategy "{self.strategy}"',
                hint=f"one of: {', '.join(STRATEGIES)}",
            )

    def run(self, g: Graph, ctx: Context) -> None:
        for finding in self.check(g, ctx):
            ctx.note(f"{finding.node}: {finding.message}")
        super().run(g, ctx)

    def pattern(self, op: Any, x: Any, w: Any, b: Any = None) -> Any:
        return op.Conv(x, w, b, dilations=lambda d: d is not None and max(d, default=1) > 1, _name="conv")

    def where(self, m: Any) -> Any:
        choice = self.choose(m)
        return choice if isinstance(choice, NoMatch) else True

    def finding(self, m: Any) -> str:
        return str(self.choose(m))

    def replacement(self, op: Any, m: Any) -> Any:
        choice = self.choose(m)
        if isinstance(choice, NoMatch):
            return choice
        if choice.strategy == "polyphase":
            return dilated.polyphase(op, m.x, m.w, m.b, choice.geometry, choice.plan)
        if choice.strategy == "taps":
            concat = self.concat_taps and choice.geometry.group == 1
            return dilated.taps(op, m.x, m.w.array(), m.b, choice.geometry, concat=concat)
        return dilated.zero_inflate(op, m.x, m.w.array(), m.b, choice.geometry)

    # ---------------------------------------------------------------- deciding

    def choose(self, m: Any) -> Choice | NoMatch:
        """The strategy for a match and the figures behind it, or why the convolution is kept."""
        if self.strategy == "keep":
            return NoMatch("strategy is keep")
        if not m.w.is_const and not _is_quantised_constant(m.w):
            return NoMatch("the weights are computed at run time")
        if not m.w.is_const and self.strategy in ("taps", "zero-inflate"):
            return NoMatch("the weights are quantised, and only polyphase leaves them as they are")
        geometry = conv_geometry(m.conv.attrs, m.x.shape, m.w.shape)
        if geometry is None:
            return NoMatch("the shape of the input is not known well enough to resolve the padding")
        if geometry.extent_taps == geometry.taps:
            return NoMatch("the dilation is on axes of kernel size 1, where it has no effect")
        itemsize = m.w.dtype.bits // 8
        kernel_bytes = inflated_weight_bytes(geometry, itemsize)
        if self.strategy == "auto" and not self._worth_it(geometry, kernel_bytes):
            return NoMatch(
                "kept, within all limits: filled with zeros the kernel grows {}x, over {} elements, to {} bytes",
                f"{blow_up(geometry):.3g}", geometry.max_extent, kernel_bytes,
            )  # fmt: skip
        plan = [p for axis in geometry.axes if (p := axis_phases(axis)) is not None]
        if not geometry.is_static:
            return self._without_lengths(geometry, kernel_bytes, readable=m.w.is_const)
        if len(plan) != len(geometry.axes):
            return NoMatch("no output element reads an input element")
        costs = {
            "polyphase": polyphase_cost(geometry, plan, itemsize),
            "taps": taps_cost(geometry, itemsize, concat=self.concat_taps and geometry.group == 1),
            "zero-inflate": zero_inflate_cost(geometry, itemsize),
        }
        strategy = self.strategy
        if strategy == "auto":
            few = m.w.is_const and geometry.taps <= self.max_taps
            eligible = ["polyphase", "taps"] if few else ["polyphase"]
            strategy = min(eligible, key=lambda s: costs[s].score(self.memory_weight))
            within = geometry.max_extent <= self.max_extent and kernel_bytes <= self.max_kernel_bytes
            score = costs[strategy].score(self.memory_weight)
            if within and costs["zero-inflate"].score(self.memory_weight) <= score:
                return NoMatch("kept: filled with zeros ({}) it is cheaper than {}", costs["zero-inflate"], strategy)
        return Choice(strategy, geometry, tuple(plan), costs, kernel_bytes)

    def _worth_it(self, geometry: ConvGeometry, kernel_bytes: int) -> bool:
        return (
            blow_up(geometry) >= self.min_blowup
            or geometry.max_extent > self.max_extent
            or kernel_bytes > self.max_kernel_bytes
        )

    def _without_lengths(self, geometry: ConvGeometry, kernel_bytes: int, *, readable: bool) -> Choice | NoMatch:
        few = readable and geometry.taps <= self.max_taps
        if self.strategy == "taps" or (self.strategy == "auto" and few):
            return Choice("taps", geometry, (), {}, kernel_bytes)
        if self.strategy == "zero-inflate":
            return Choice("zero-inflate", geometry, (), {}, kernel_bytes)
        return NoMatch("a length is symbolic, and {} taps are too many to sum: give the dim a number", geometry.taps)


def _is_quantised_constant(w: ValueView) -> bool:
    """Whether a weight is a constant behind a DequantizeLinear."""
    producer = w.producer
    if producer is None or producer.type != "DequantizeLinear":
        return False
    return w.dtype is not None and all(v is None or v.is_const for v in producer.inputs)
