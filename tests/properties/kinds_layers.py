"""What a drawn graph is made of, part 1: layers. Each kind adds one or a few ops; False when it finds no operand."""

from __future__ import annotations

from coregraft.rewriter.types import DType
from tests.properties.sketch import Sketch


def conv(s: Sketch) -> bool:
    x = s.value(lambda shape: len(shape) in (3, 4) and min(shape) > 0)
    if x is None:
        return False
    shape = s.shape(x)
    channels, space = shape[1], shape[2:]
    group = s.pick([d for d in (1, 2, channels) if channels % d == 0])
    out = group * s.pick([1, 2])
    kernel = [s.integer(1, min(3, d)) for d in space]
    dilations = [s.pick([1, 1, 2, 3]) if k > 1 else 1 for k in kernel]
    extent = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    attrs: dict[str, object] = {"group": group, "dilations": dilations, "kernel_shape": kernel}
    if s.flip():
        attrs["strides"] = [s.pick([1, 1, 2]) for _ in space]
    if any(e > d for e, d in zip(extent, space, strict=True)) or s.flip():
        if max(dilations) == 1 and s.flip():  # onnxruntime has no kernel for both
            attrs["auto_pad"] = s.pick(["SAME_UPPER", "SAME_LOWER"])
        else:
            attrs["pads"] = [e - 1 for e in extent] + [s.integer(0, e) for e in extent]
    weight = s.weight((out, channels // group, *kernel))
    bias = [s.normal((out,))] if s.flip() else []
    return s.keep(s.make("Conv", x, weight, *bias, **attrs))


def padded_conv(s: Sketch) -> bool:
    """A convolution of what a Pad made larger."""
    x = s.value(lambda shape: len(shape) in (3, 4) and min(shape) > 0)
    if x is None:
        return False
    channels, space = s.shape(x)[1], s.shape(x)[2:]
    amounts = [s.integer(0, 2) for _ in range(2 * len(space))]
    before, after = amounts[: len(space)], amounts[len(space) :]
    value = [s.const(s.pick([0.0, 1.0]))] if s.flip() else []
    padded = s.make("Pad", x, s.ints([0, 0, *before, 0, 0, *after]), *value)
    kernel = [s.integer(1, min(3, d)) for d in space]
    pads = [s.integer(0, 1) for _ in amounts] if s.flip() else None
    return s.keep(s.make("Conv", padded, s.weight((2, channels, *kernel)), pads=pads))


def conv_residual(s: Sketch) -> bool:
    """A block of a residual network: the skip path on either side of the sum."""
    x = s.value(lambda shape: len(shape) in (3, 4) and min(shape) > 0)
    if x is None:
        return False
    channels, rank = s.shape(x)[1], len(s.shape(x))
    start = s.make("Relu", x) if s.flip() else x
    y = s.make("Conv", start, s.weight((channels, channels, *(3,) * (rank - 2))), pads=[1] * (2 * (rank - 2)))
    if s.flip():
        stats = [s.positive((channels,)), s.normal((channels,)), s.normal((channels,)), s.positive((channels,))]
        y = s.make("BatchNormalization", y, *stats)
    y = s.make("Add", *s.draw_order(start, y))
    return s.keep(s.make("Relu", y) if s.flip() else y)


def conv_transpose(s: Sketch) -> bool:
    x = s.value(lambda shape: len(shape) in (3, 4) and max(shape[2:]) <= 6)
    if x is None:
        return False
    shape = s.shape(x)
    channels, space = shape[1], shape[2:]
    group = s.pick([d for d in (1, 2) if channels % d == 0])
    kernel = [s.integer(1, 4) for _ in space]
    strides = [s.pick([1, 2]) for _ in space]
    attrs: dict[str, object] = {"group": group, "strides": strides, "kernel_shape": kernel}
    if s.flip():
        attrs["output_padding"] = [s.integer(0, d - 1) for d in strides]
    if s.flip():
        attrs["pads"] = [s.integer(0, (k - 1) // 2) for k in (*kernel, *kernel)]
    per_group = s.pick([1, 2])
    weight = s.weight((channels, per_group, *kernel))
    bias = [s.normal((per_group * group,))] if s.flip() else []
    return s.keep(s.make("ConvTranspose", x, weight, *bias, **attrs))


def batch_norm(s: Sketch) -> bool:
    x = s.value(lambda shape: len(shape) >= 2)
    if x is None:
        return False
    channels = (s.shape(x)[1],)
    stats = [s.positive(channels), s.normal(channels), s.normal(channels), s.positive(channels)]
    return s.keep(s.make("BatchNormalization", x, *stats, epsilon=s.pick([1e-5, 1e-3])))


def pool(s: Sketch) -> bool:
    x = s.value(lambda shape: len(shape) in (3, 4) and min(shape) > 0)
    if x is None:
        return False
    space = s.shape(x)[2:]
    if s.flip():
        return s.keep(s.make(s.pick(["GlobalAveragePool", "GlobalMaxPool"]), x))
    kernel = [s.integer(1, min(3, d)) for d in space]
    attrs: dict[str, object] = {"kernel_shape": kernel, "strides": [s.pick([1, 2]) for _ in space]}
    if s.flip():
        attrs["pads"] = [k // 2 for k in kernel] * 2
    if s.flip():
        attrs["ceil_mode"] = 1
    kind = s.pick(["MaxPool", "AveragePool"])
    if kind == "AveragePool" and s.flip():
        attrs["count_include_pad"] = 1
    return s.keep(s.make(kind, x, **attrs))


def matmul(s: Sketch) -> bool:
    x = s.value(lambda shape: len(shape) >= 2)
    if x is None:
        return False
    depth = s.shape(x)[-1]
    y = s.make("MatMul", x, s.weight((depth, s.pick([2, 3, depth]))))
    if s.flip():
        bias = s.normal(s.shape(y)[-1:])
        y = s.make("Add", *((y, bias) if s.flip() else (bias, y)))
    return s.keep(y)


def batch_matmul(s: Sketch) -> bool:
    """Scores of attention: a value times its own transpose, or another's."""
    x = s.value(lambda shape: len(shape) >= 2)
    if x is None:
        return False
    rank = len(s.shape(x))
    turned = s.make("Transpose", s.like(x), perm=[*range(rank - 2), rank - 1, rank - 2])
    y = s.make("MatMul", x, turned)
    return s.keep(s.make("Mul", y, s.const(s.shape(x)[-1] ** -0.5)))


def gemm(s: Sketch) -> bool:
    x = s.value(lambda shape: len(shape) == 2)
    if x is None:
        return False
    shape = s.shape(x)
    attrs: dict[str, float] = {}
    depth, out = shape[1], s.pick([2, 3])
    weight = [depth, out]
    if s.flip():
        attrs["transB"] = 1
        weight.reverse()
    if s.flip():
        x = s.make("Transpose", x, perm=[1, 0])
        attrs["transA"] = 1
    if s.flip():
        attrs["alpha"] = 0.5
    if s.flip():
        attrs["beta"] = 2.0
    bias = s.pick([None, (), (out,), (1, out), (shape[0], 1)])
    return s.keep(s.make("Gemm", x, s.weight(weight), *([] if bias is None else [s.normal(bias)]), **attrs))


def linear(s: Sketch) -> bool:
    """A fully connected layer on a batch of any rank, written with its weight transposed at run time."""
    x = s.value(lambda shape: len(shape) >= 2)
    if x is None:
        return False
    out, depth = s.pick([2, 4]), s.shape(x)[-1]
    weight = s.make("Transpose", s.weight((out, depth)), perm=[1, 0])
    return s.keep(s.make("Add", s.make("MatMul", x, weight), s.normal((out,))))


def layer_norm(s: Sketch) -> bool:
    """Layer normalization written out."""
    x = s.value(lambda shape: len(shape) >= 2 and shape[-1] > 1)
    if x is None:
        return False
    axes, size = s.ints([-1]), s.shape(x)[-1:]
    centred = s.make("Sub", x, s.make("ReduceMean", x, axes))
    square = s.make("Mul", centred, centred) if s.flip() else s.make("Pow", centred, s.const(2.0))
    spread = s.make("Sqrt", s.make("Add", s.make("ReduceMean", square, axes), s.const(1e-2)))
    y = s.make("Div", centred, spread)
    if s.flip():
        y = s.make("Add", s.make("Mul", y, s.normal(size)), s.normal(size))
    if s.flip():
        s.keep(centred)
    return s.keep(y)


def rms_norm(s: Sketch) -> bool:
    x = s.value(lambda shape: len(shape) >= 2)
    if x is None:
        return False
    mean = s.make("ReduceMean", s.make("Pow", x, s.const(2.0)), s.ints([-1]))
    spread = s.make("Sqrt", s.make("Add", mean, s.const(1e-2)))
    y = s.make("Mul", x, s.make("Reciprocal", spread)) if s.flip() else s.make("Div", x, spread)
    return s.keep(s.make("Mul", s.normal(s.shape(x)[-1:]), y))


def group_norm(s: Sketch) -> bool:
    x = s.value(lambda shape: len(shape) >= 3 and shape[1] % 2 == 0)
    if x is None:
        return False
    channels = (s.shape(x)[1],)
    if s.flip():
        return s.keep(s.make("InstanceNormalization", x, s.positive(channels), s.normal(channels)))
    return s.keep(s.make("GroupNormalization", x, s.positive(channels), s.normal(channels), num_groups=2))


def residual(s: Sketch) -> bool:
    """A sum of two values of one shape, one of which may have other users."""
    x = s.any_value(1)
    if x is None:
        return False
    branch = s.make(s.pick(["Relu", "Tanh", "Identity"]), x)
    pair = (s.like(x), branch)
    return s.keep(s.make("Add", *(pair if s.flip() else pair[::-1])))


def gelu(s: Sketch) -> bool:
    """GELU written out, by erf or by tanh."""
    x = s.any_value()
    if x is None:
        return False
    if s.flip():
        inner = s.make("Erf", s.make("Div", x, s.const(2.0**0.5)))
    else:
        cubic = s.make("Mul", s.make("Pow", x, s.const(3.0)), s.const(0.044715))
        inner = s.make("Tanh", s.make("Mul", s.make("Add", x, cubic), s.const((2 / 3.141592653589793) ** 0.5)))
    shifted = s.make("Add", inner, s.const(1.0))
    if s.flip():
        return s.keep(s.make("Mul", s.make("Mul", x, shifted), s.const(0.5)))
    return s.keep(s.make("Mul", s.make("Mul", x, s.const(0.5)), shifted))


def swish(s: Sketch) -> bool:
    """Swish and hard swish written out."""
    x = s.any_value()
    if x is None:
        return False
    if s.flip():
        return s.keep(s.make("Mul", *s.draw_order(x, s.make("Sigmoid", x))))
    clipped = s.make("Clip", s.make("Add", x, s.const(3.0)), s.const(0.0), s.const(6.0))
    return s.keep(s.make("Mul", x, s.make("Div", clipped, s.const(6.0))))


def softmax(s: Sketch) -> bool:
    x = s.any_value(1)
    if x is None:
        return False
    axis = s.integer(-len(s.shape(x)), len(s.shape(x)) - 1)
    form = s.pick(["op", "log", "log of", "written out"])
    if form in ("op", "log"):
        return s.keep(s.make("Softmax" if form == "op" else "LogSoftmax", x, axis=axis))
    if form == "log of":
        return s.keep(s.make("Log", s.make("Add", s.make("Softmax", x, axis=axis), s.const(1e-3))))
    power = s.make("Exp", s.make("Sub", x, s.make("ReduceMax", x, s.ints([axis]))))
    return s.keep(s.make("Div", power, s.make("ReduceSum", power, s.ints([axis]))))


def attention_mask(s: Sketch) -> bool:
    """A softmax over scores of which some are masked, by addition or by selection."""
    x = s.value(lambda shape: len(shape) >= 2 and shape[-1] > 1)
    if x is None:
        return False
    low = s.pick([-1e4, -1e9, -3.4028234663852886e38])
    size = s.shape(x)[-1]
    keep = [[i <= j or i == 0 for i in range(size)] for j in range(s.shape(x)[-2])]
    if s.flip():
        mask = s.const([[0.0 if k else low for k in row] for row in keep])
        masked = s.make("Add", *s.draw_order(x, mask))
    else:
        masked = s.make("Where", s.const(keep, bool), x, s.const(low))
    return s.keep(s.make("Softmax", masked, axis=-1))


def recurrent(s: Sketch) -> bool:
    """An LSTM, GRU or RNN over a value of rank 3 as (steps, batch, features)."""
    x = s.value(lambda shape: len(shape) == 3 and min(shape) > 0 and shape[0] <= 6)
    if x is None:
        return False
    features = s.shape(x)[2]
    kind = s.pick(["LSTM", "GRU", "RNN"])
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    hidden, direction = 2, s.pick(["forward", "reverse", "bidirectional"])
    directions = 2 if direction == "bidirectional" else 1
    operands = [s.weight((directions, gates * hidden, n)) for n in (features, hidden)]
    if s.flip():
        operands.append(s.normal((directions, 2 * gates * hidden)))
    attrs: dict[str, object] = {"hidden_size": hidden, "direction": direction}
    if kind == "GRU" and s.flip():
        attrs["linear_before_reset"] = 1
    results = s.op(kind, (x, *operands), n_outputs=3 if kind == "LSTM" else 2, **attrs)
    return s.keep(*results)


def quantize(s: Sketch) -> bool:
    """A value through eight bits and back."""
    x = s.any_value()
    if x is None:
        return False
    scale, zero = s.const(0.05), s.const(s.pick([0, 3]), s.pick([DType.INT8.numpy, DType.UINT8.numpy]))
    return s.keep(s.make("DequantizeLinear", s.make("QuantizeLinear", x, scale, zero), scale, zero))
