"""The network of the demo, in coregraft's own text form: everything that goes wrong, in one small place."""

from __future__ import annotations

from coregraft.rewriter.graph import Graph

#: Dilations of the residual stack; 16 is where a 3x3 kernel reaches over 33 pixels.
DILATIONS = (4, 8, 16)
CHANNELS, SIZE, TOKENS = 16, 48, 64


def demo_model(*, with_unsupported: bool = True) -> Graph:
    """A dilated residual stack, then attention with a mask, then an op that nobody supports (or a Tanh).

    Inputs: ``image`` float[1,3,48,48]; ``mask`` float[1,1,1,64], 1 where a token counts. Output: ``scores``.
    """
    from coregraft.rewriter.onnx_io.text import parse

    last = (
        "shaken: float[1,64,16] = com.example.Wobble(attended, frequency=3.0, steps=[1, 2, 4]) @wobble"
        if with_unsupported
        else "shaken = Tanh(attended) @tanh"
    )
    return parse("\n".join([_HEAD, *(_block(i, d) for i, d in enumerate(DILATIONS)), _ATTENTION, last, _TAIL]))


_HEAD = f"""
graph demo
opset 17
opset com.example 1
input image: float[1,3,{SIZE},{SIZE}]
input mask: float[1,1,1,{TOKENS}]
const std: float[1,3,1,1] = [0.229, 0.224, 0.225]
const stem.w: float[{CHANNELS},3,3,3] = normal(seed=1, scale=0.15)
normalised = Div(image, std) @normalise
stem = Conv(normalised, stem.w, _, pads=[1, 1, 1, 1]) @stem
level0 = Relu(stem) @stem.relu
"""

_ATTENTION = f"""
pooled = AveragePool(level{len(DILATIONS)}, kernel_shape=[6, 6], strides=[6, 6]) @pool
flat = Reshape(pooled, [1, {CHANNELS}, {TOKENS}]) @flatten
tokens = Transpose(flat, perm=[0, 2, 1]) @tokens
const q.w: float[{CHANNELS},{CHANNELS}] = normal(seed=41, scale=0.2)
const k.w: float[{CHANNELS},{CHANNELS}] = normal(seed=42, scale=0.2)
const v.w: float[{CHANNELS},{CHANNELS}] = normal(seed=43, scale=0.2)
const q.b: float[{CHANNELS}] = normal(seed=44, scale=0.1)
const norm.g: float[{CHANNELS}] = uniform(seed=45, low=0.8, high=1.2)
mean = ReduceMean(tokens, axes=[-1], keepdims=1) @norm.mean
delta = Sub(tokens, mean) @norm.sub
square = Pow(delta, 2.0) @norm.pow
variance = ReduceMean(square, axes=[-1], keepdims=1) @norm.var
safe = Add(variance, 1e-12) @norm.eps
root = Sqrt(safe) @norm.sqrt
unit = Div(delta, root) @norm.div
normed = Mul(unit, norm.g) @norm.scale
q0 = MatMul(normed, q.w) @q
q = Add(q0, q.b) @q.bias
k = MatMul(normed, k.w) @k
v = MatMul(normed, v.w) @v
kt = Transpose(k, perm=[0, 2, 1]) @k.t
raw = MatMul(q, kt) @qk
scaled = Mul(raw, 0.25) @qk.scale
inverted = Sub(1.0, mask) @mask.invert
additive = Mul(inverted, -3.4028234663852886e38) @mask.min
flatmask = Reshape(additive, [1, 1, {TOKENS}]) @mask.reshape
masked = Add(scaled, flatmask) @mask.add
weights = Softmax(masked, axis=-1) @softmax
attended = MatMul(weights, v) @attend
"""

_TAIL = f"""
const head.w: float[{CHANNELS},8] = normal(seed=51, scale=0.3)
scores = MatMul(shaken, head.w) @head
output scores
"""


def _block(i: int, dilation: int) -> str:
    """One residual block: dilated Conv, BatchNormalization, activation, and a sum with the skip path first."""
    c, d = CHANNELS, dilation
    return f"""
const b{i}.w: float[{c},{c},3,3] = normal(seed={10 + i}, scale=0.08)
const b{i}.s: float[{c}] = uniform(seed={20 + i}, low=0.8, high=1.2)
const b{i}.t: float[{c}] = normal(seed={30 + i}, scale=0.1)
const b{i}.m: float[{c}] = zeros
const b{i}.v: float[{c}] = ones
c{i} = Conv(level{i}, b{i}.w, _, dilations=[{d}, {d}], pads=[{d}, {d}, {d}, {d}]) @block{i}.conv
n{i} = BatchNormalization(c{i}, b{i}.s, b{i}.t, b{i}.m, b{i}.v) @block{i}.bn
a{i} = Relu(n{i}) @block{i}.relu
level{i + 1} = Add(level{i}, a{i}) @block{i}.add
"""
