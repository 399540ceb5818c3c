"""Seeded inputs that a model can make sense of: token ids, masks, images, audio, lengths."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from coregraft.rewriter.errors import InputError, UsageError
from coregraft.rewriter.graph import Graph, Op
from coregraft.rewriter.types import Array, Dim, DType, TensorType

#: Kinds by name, the first that fits; a name is split at everything that is no letter or digit.
_BY_NAME: tuple[tuple[str, str], ...] = (
    ("positions", r"position(s|_ids?)?|pos_ids?"),
    ("segments", r"token_type(_ids?)?|segment(s|_ids?)?"),
    ("mask", r"(\w+_)?masks?"),
    ("lengths", r"(\w+_)?(lengths?|lens?)"),
    ("sample-rate", r"sr|sample_rate|sampling_rate"),
    ("ids", r"(\w+_)?ids?|tokens?|indices"),
    ("image", r"(\w+_)?(image|images|img|pixel_values|pixels)"),
    ("audio", r"(\w+_)?(audio|wav|waveform|samples|speech)"),
    ("distances", r"(\w+_)?(dist|distance)s?"),
)
_ANY_IDS = 10
#: Ops through which an index, a divisor or a length stays what it is.
_PASSING = frozenset(
    {"Cast", "Concat", "Expand", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
)
#: Operands that must not be zero: divisors of integers, and lengths of sequences.
_AT_LEAST_ONE = frozenset({("Div", 1), ("Mod", 1), ("GRU", 4), ("LSTM", 4), ("RNN", 4)})
#: What stands between an image and the first convolution.
_PREPARING = frozenset({"Add", "BatchNormalization", "Cast", "Div", "Identity", "Mul", "Pad", "Sub", "Transpose"})


@dataclass(frozen=True)
class Kind:
    """What an input holds, and for integers the range it is drawn from (the upper end left out)."""

    name: str
    low: int = 0
    high: int = _ANY_IDS


def kinds(g: Graph) -> dict[str, Kind]:
    """What each input seems to hold, by use, then by dtype and name."""
    found = {}
    for name in g.inputs:
        kind = g.tensor_type(name)
        found[name] = Kind("unknown") if kind is None else _kind(g, name, kind)
    return found


def draw(g: Graph, seed: int = 0) -> dict[str, Array]:
    """Inputs for a graph of static shapes; the same for the same graph and seed.

    Raises:
        InputError: ``input-undrawable`` for an input that is no numeric tensor of known shape.
    """
    feeds = {}
    for name, kind in kinds(g).items():
        type_ = g.tensor_type(name)
        shape = None if type_ is None else type_.static_shape
        if type_ is None or shape is None or type_.dtype is DType.STRING:
            text = f"no values can be drawn for {type_ or 'an unknown type'}"
            raise InputError("input-undrawable", text, node=name, hint="fix its sizes, or give inputs of your own")
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        feeds[name] = np.asarray(_draw(kind, shape, rng)).astype(type_.dtype.numpy)
    return feeds


def feeds_for(g: Graph, arrays: Mapping[str, Array] | None, draws: int, seed: int) -> list[dict[str, Array]]:
    """What a graph is run on: the user's arrays, or seeded draws, one seed after the other.

    Raises:
        UsageError: ``draws-invalid`` for no draws at all, or a negative seed; ``inputs-mismatch``.
        InputError: ``input-undrawable``.
    """
    if arrays is not None:
        return [given(g, arrays)]
    if draws < 1 or seed < 0:
        text = f"{draws} draw(s) from seed {seed} cannot be made"
        raise UsageError("draws-invalid", text, hint="at least one draw, from seed 0 or a later one")
    return [draw(g, seed + i) for i in range(draws)]


def described(g: Graph, arrays: Mapping[str, Array] | None) -> dict[str, str]:
    """For a report, what each input was taken to hold."""
    return dict.fromkeys(g.inputs, "given") if arrays is not None else {n: kind.name for n, kind in kinds(g).items()}


def given(g: Graph, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Inputs from the user, checked against the graph and cast to its types.

    Raises:
        UsageError: ``inputs-mismatch`` for a missing or unknown name or another shape.
    """
    missing, unknown = sorted(set(g.inputs) - set(arrays)), sorted(set(arrays) - set(g.inputs))
    if missing or unknown:
        raise UsageError("inputs-mismatch", f"inputs missing: {missing}, not in the model: {unknown}")
    feeds = {}
    for name in g.inputs:
        kind = g.tensor_type(name)
        array = np.asarray(arrays[name])
        if kind is not None:
            if kind.static_shape is not None and array.shape != kind.static_shape:
                raise UsageError("inputs-mismatch", f"{list(array.shape)} given for {kind}", node=name)
            array = array.astype(kind.dtype.numpy)
        feeds[name] = array
    return feeds


def _kind(g: Graph, name: str, type_: TensorType) -> Kind:
    word = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    named = next((kind for kind, pattern in _BY_NAME if re.fullmatch(pattern, word)), "")
    if type_.dtype is DType.BOOL:
        return Kind("mask")
    if type_.dtype.is_integer:
        low, high = _bounds(g, name)
        if named in ("mask", "positions", "lengths", "segments", "sample-rate"):
            return Kind(named, low, high or _ANY_IDS)
        return Kind("ids", low, high or _ANY_IDS)
    if named in ("mask", "audio", "image", "lengths", "sample-rate", "distances"):
        return Kind(named)
    return Kind("image" if _is_seen(g, name, type_) else "values")


def _is_seen(g: Graph, name: str, type_: TensorType) -> bool:
    """Whether an input of one or three channels goes into a convolution over two axes, scaled and moved at most."""
    shape = type_.shape
    if shape is None or len(shape) != 4 or not {shape[1], shape[3]} & {1, 3}:
        return False
    todo = [name]
    while todo:
        value = todo.pop()
        for user in g.users(value):
            op = g.op(user)
            if op.type == "Conv":
                return True
            if op.type in _PREPARING and all(v == value or _is_fixed(g, v) for v in op.inputs if v):
                todo.extend(out for out in op.outputs if out)
    return False


def _is_fixed(g: Graph, value: str) -> bool:
    """Whether a value is a constant, an initializer or the result of a Constant op."""
    producer = g.producer(value)
    return g.const(value) is not None or (producer is not None and g.op(producer).type == "Constant")


def _bounds(g: Graph, name: str) -> tuple[int, int | None]:
    """The least value of an integer input and its upper end (None: any), by what it indexes, divides or measures."""
    todo, seen, low = [name], {name}, 0
    highs: list[int] = []
    while todo:
        value = todo.pop()
        for user in g.users(value):
            op = g.op(user)
            places = [i for i, operand in enumerate(op.inputs) if operand == value]
            highs.extend(high for i in places if (high := _upper(g, op, i)) is not None)
            if any((op.type, i) in _AT_LEAST_ONE for i in places):
                low = 1
            if op.type in _PASSING and op.domain == "":
                fresh = [out for out in op.outputs if out and out not in seen]
                seen.update(fresh)
                todo.extend(fresh)
    return low, min(highs, default=None)


def _upper(g: Graph, op: Op, place: int) -> int | None:
    """What an operand must stay below for an op to be defined: the size of the table, the classes, the longest."""
    kind = g.tensor_type(op.inputs[0])
    shape = None if kind is None else kind.shape
    if not shape or op.domain:
        return None
    if op.type == "GatherND" and place == 1:
        return _least(shape[int(op.attrs.get("batch_dims", 0)) :])
    if op.type == "ScatterND" and place == 1:
        return _least(shape)
    if op.type in ("GRU", "LSTM", "RNN") and place == 4:
        steps = shape[1 if op.attrs.get("layout", 0) else 0]
        return steps + 1 if isinstance(steps, int) else None
    axis = {"NegativeLogLikelihoodLoss": 1, "SoftmaxCrossEntropyLoss": 1}.get(op.type)
    if op.type in ("Gather", "GatherElements", "ScatterElements"):
        axis = int(op.attrs.get("axis", 0))
    if axis is None or place != 1 or not -len(shape) <= axis < len(shape):
        return None
    size = shape[axis]
    return size if isinstance(size, int) else None


def _least(shape: tuple[Dim, ...]) -> int | None:
    return min((d for d in shape if isinstance(d, int)), default=None)


def _draw(kind: Kind, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    last = shape[-1] if shape else 1
    if kind.name == "mask":  # the first place always counts: a row that is masked out whole has no defined result
        mask = rng.random(shape) < 0.8
        mask[..., :1] = True
        return mask
    if kind.name == "positions":
        return np.broadcast_to(np.arange(last) % kind.high, shape)
    if kind.name == "segments":
        return np.broadcast_to(np.arange(last) >= last // 2, shape)
    if kind.name == "lengths":
        return np.full(shape, max(1, kind.high - 1))
    if kind.name == "sample-rate":
        return np.full(shape, 16000)
    if kind.name == "ids":
        return rng.integers(kind.low, max(kind.high, kind.low + 1), shape)
    if kind.name == "image":
        grid = np.linspace(0.0, 6.0, last)
        return np.asarray(np.clip(0.5 + 0.3 * np.sin(grid) + 0.15 * rng.standard_normal(shape), 0.0, 1.0))
    if kind.name == "distances":  # positive, as is what divides by them
        return rng.uniform(0.5, 5.0, shape)
    if kind.name == "audio":
        return np.asarray(0.3 * np.sin(np.arange(last) * 0.05) + 0.05 * rng.standard_normal(shape))
    return rng.standard_normal(shape)
