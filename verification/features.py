"""How the inputs and outputs of a model are called in its package, and what goes from one to the other."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from coregraft.lowering.names import Names, legal
from coregraft.passes.decompose.number_labels import LABELS_KEY
from coregraft.rewriter.errors import InputError, UsageError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.shapes.dims import pin_dims
from coregraft.rewriter.types import Array


@dataclass(frozen=True)
class Features:
    """How the source's inputs and outputs are called in the package, and what its numbers of labels stand for."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def worded(self, output: str, found: Array) -> Array:
        """What the package returns for an output of the source, with labels where it has numbers of them."""
        labels = self.labels.get(output)
        if labels is None or not ((found >= 0) & (found < len(labels))).all():
            return found
        return np.array(labels, object)[found.astype(np.int64)]

    def translate(self, feed: Mapping[str, Array], lifted: Graph) -> dict[str, Array]:
        """A feed for the package: its names, types and ranks; inputs that it does not have are left out.

        Raises:
            UsageError: ``package-mismatch`` for an input of another size.
        """
        given_to = {}
        for name, feature in self.inputs.items():
            kind = lifted.tensor_type(feature)
            array = np.asarray(feed[name])
            if kind is not None:
                array = array.astype(kind.dtype.numpy)
                if kind.static_shape is not None:
                    if array.size != math.prod(kind.static_shape):
                        text = f"the model's input is {list(array.shape)}, the package's {list(kind.static_shape)}"
                        raise UsageError("package-mismatch", text, node=name, hint="is it made from this model?")
                    array = array.reshape(kind.static_shape)
            given_to[feature] = array
        return given_to


def match_features(graph: Graph, lifted: Graph) -> Features:
    """Match inputs and outputs by name, spelt as Core ML spells it, or, where no name fits, by place.

    Raises:
        UsageError: ``package-mismatch`` when that leaves an input of the package or an output without partner.
        InputError: ``package-broken`` when its metadata are not ours.
    """
    names = Names()  # those of a package of ours are given out in this order
    spelt_inputs, spelt_outputs = ({name: names.take(name) for name in side} for side in (graph.inputs, graph.outputs))
    inputs = _pair(spelt_inputs, list(lifted.inputs), optional=True)
    outputs = _pair(spelt_outputs, list(lifted.outputs), optional=False)
    told = dict(lifted.graph.get("metadata", ()))
    labels = {name: _labels(name, told[LABELS_KEY + name]) for name in outputs if LABELS_KEY + name in told}
    return Features(inputs, outputs, labels)


def _labels(name: str, text: str) -> list[str]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise InputError("package-broken", "the names of classes in its metadata are no list", node=name)
    return found


def pin_sizes(graph: Graph, lifted: Graph, features: Features) -> None:
    """Give the source the sizes that the package was made for, where its own are open."""
    shapes = {value: _shape(graph, lifted, value, feature) for value, feature in features.inputs.items()}
    pin_dims(graph, {}, {value: shape for value, shape in shapes.items() if shape})


def _pair(spelt: Mapping[str, str], theirs: list[str], *, optional: bool) -> dict[str, str]:
    """Our names to theirs.

    Args:
        spelt: our names, and how a package of ours spells each.
        optional: one of ours may be missing there.
    """
    pairs = {}
    left, ours = list(theirs), list(spelt)
    for name in ours:
        match = next((t for t in (spelt[name], name, legal(name)) if t in left), None)
        if match is not None:
            pairs[name] = match
            left.remove(match)
    missing = [name for name in ours if name not in pairs]
    if len(missing) == len(left):
        pairs.update(zip(missing, left, strict=True))
    elif left or not optional:
        text = f"model has {ours}, package has {theirs}"
        raise UsageError("package-mismatch", text, hint="is it made from this model?")
    return pairs


def _shape(graph: Graph, lifted: Graph, value: str, feature: str) -> tuple[int, ...] | None:
    """The shape that the package gives an input whose own is open; None for any other input."""
    ours, theirs = graph.tensor_type(value), lifted.tensor_type(feature)
    if ours is None or theirs is None or ours.static_shape is not None:
        return None
    return theirs.static_shape
