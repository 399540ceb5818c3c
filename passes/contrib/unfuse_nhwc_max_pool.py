"""NhwcMaxPool as MaxPool between transpositions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from coregraft.passes.contrib._base import Contrib, channels_first, channels_last, ms
from coregraft.passes.decompose._base import need
from coregraft.rewriter.passes import Equivalence, NoMatch, OpBuilder, OpView

_POOL = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")


@dataclass(frozen=True)
class UnfuseNhwcMaxPool(Contrib):
    """Write a max pool with its channels last as Transpose, MaxPool and Transpose.

    What it does
    ------------
    Puts the channels first, takes ONNX's MaxPool with the same attributes and puts them back.

    Why it matters
    --------------
    Core ML's pools take their channels first; onnxruntime's optimizer turns those of quantised models around.

    Example
    -------
    ``y = com.microsoft.NhwcMaxPool <kernel_shape = [2, 2]> (x)`` becomes ``y = Transpose(MaxPool(Transpose(x)))``.

    Equivalence
    -----------
    Bit-exact: elements are copied.

    Sources
    -------
    H1.16; onnxruntime operator schema NhwcMaxPool-1.
    """

    code: ClassVar[str] = "CG116"
    equivalence: ClassVar[Equivalence] = Equivalence.BIT_EXACT
    roots: ClassVar[tuple[str, ...]] = ms("NhwcMaxPool")
    defaults: ClassVar[Mapping[str, Any]] = dict.fromkeys(_POOL)

    def build(self, op: OpBuilder, node: OpView) -> Any:
        x = need(node, 0)
        if (x.rank or 0) < 3 or not self.get(node, "kernel_shape"):
            return NoMatch("its input is not known to have three axes or more, or it has no window")
        return channels_last(op, op.MaxPool(channels_first(op, x), **self.kept(node, *_POOL)))
