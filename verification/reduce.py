"""From a failing model to the smallest part of it that still fails.

Works with any check: a function that says whether a candidate still fails. Candidates are cut out of the model between
values whose real contents are known from one run, so a part sees the numbers it sees in the whole.
"""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coregraft.custom_layers.evaluate import Interpreter
from coregraft.rewriter.errors import CoregraftError, InputError, UsageError
from coregraft.rewriter.graph import Graph
from coregraft.rewriter.types import Array, DType, TensorType

#: Says whether a graph, on the given inputs, still fails.
StillFails = Callable[[Graph, Mapping[str, Array]], bool]


@dataclass(frozen=True)
class Reduced:
    """The smallest failing part: a graph, inputs on which it fails, and how many candidates were tried."""

    graph: Graph
    inputs: Mapping[str, Array]
    tried: int

    @property
    def ops(self) -> list[str]:
        """Labels of the ops left, in program order."""
        return [self.graph.op(i).label for i in self.graph.topological()]


def reduce(graph: Graph, inputs: Mapping[str, Array], fails: StillFails, *, budget: int = 200) -> Reduced:
    """Shrink a failing graph of static shapes: to the first op that fails, then by everything not needed.

    Args:
        inputs: feeds on which it fails.
        fails: the check; an exception of ours counts as "not this failure".
        budget: how many candidates to try at most.

    Raises:
        UsageError: ``reduce-passes`` when the whole model does not fail.
        UnsupportedError: ``reference-missing`` for an op that neither onnxruntime nor a custom layer's reference runs.
    """
    search = _Search(graph, inputs, fails, budget)
    whole = graph.topological()
    if not search.fails(whole):
        raise UsageError(
            "reduce-passes", "the check does not fail on the whole model: there is nothing to reduce",
            hint="give the inputs on which it fails, and the options of the conversion that does",
        )  # fmt: skip
    kept = search.shortest_prefix(whole)
    kept = search.shortest_suffix(kept)
    kept = search.without_single_ops(kept)
    part, feeds = search.cut(kept)
    return Reduced(part, feeds, search.tried)


def command_check(command: str) -> StillFails:
    """A check by a user's command: ``{model}`` and ``{inputs}`` in it stand for an ``.onnx`` and an ``.npz`` file.

    A non-zero exit code means that the candidate still fails.

    Raises:
        UsageError: ``check-command`` when the command does not name ``{model}``, or has an open quotation.
    """
    if "{model}" not in command:
        raise UsageError("check-command", "the check command must contain {model}")
    try:
        parts = shlex.split(command)
    except ValueError as error:
        raise UsageError("check-command", f"the check command cannot be read: {error}") from error

    def fails(graph: Graph, inputs: Mapping[str, Array]) -> bool:
        from coregraft.rewriter.onnx_io.save import save

        with tempfile.TemporaryDirectory() as folder:
            model, feeds = Path(folder) / "candidate.onnx", Path(folder) / "inputs.npz"
            save(graph, model)
            np.savez(feeds, **dict(inputs))  # type: ignore[arg-type]
            words = [w.replace("{model}", str(model)).replace("{inputs}", str(feeds)) for w in parts]
            try:
                return subprocess.run(words, capture_output=True).returncode != 0
            except OSError as error:
                raise UsageError("check-command", f"the check command cannot be run: {error}") from error

    return fails


class _Search:
    def __init__(self, graph: Graph, inputs: Mapping[str, Array], fails: StillFails, budget: int) -> None:
        self.graph = graph
        self.check = fails
        self.budget = budget
        self.tried = 0
        wanted = [v for i in graph.topological() for v in graph.op(i).outputs if v and _is_tensor(graph, v)]
        self.values = {**inputs, **Interpreter().run(graph, inputs, wanted)}

    def fails(self, ops: Sequence[int]) -> bool:
        """Whether the part made of these ops still fails; a part that cannot be built or run does not."""
        if self.tried >= self.budget or not ops:
            return False
        self.tried += 1
        try:
            return self.check(*self.cut(ops))
        except CoregraftError as error:
            if isinstance(error, UsageError):
                raise
            return False

    def shortest_prefix(self, ops: Sequence[int]) -> list[int]:
        """The shortest beginning that fails, by bisection: errors do not go away further down, mostly."""
        low, high = 0, len(ops)
        while high - low > 1:
            middle = (low + high) // 2
            if self.fails(ops[:middle]):
                high = middle
            else:
                low = middle
        return list(ops[:high])

    def shortest_suffix(self, ops: Sequence[int]) -> list[int]:
        """The shortest end of these that fails, its operands taken from the run of the whole."""
        low, high = 0, len(ops)
        while high - low > 1:
            middle = (low + high) // 2
            if self.fails(ops[middle:]):
                low = middle
            else:
                high = middle
        return list(ops[low:])

    def without_single_ops(self, ops: Sequence[int]) -> list[int]:
        """Leave out every op that is not needed for the failure; readers first, since what they read may need them."""
        kept = list(ops)
        for op_id in reversed(ops):
            rest = [i for i in kept if i != op_id]
            if self.fails(rest):
                kept = rest
        return kept

    def cut(self, ops: Sequence[int]) -> tuple[Graph, dict[str, Array]]:
        """The part as a graph of its own, with the values it reads as inputs.

        Raises:
            InputError: ``input-undrawable`` where it would begin at a sequence or the like.
        """
        g, inside = self.graph, set(ops)
        part = Graph()
        part.graph.update({k: v for k, v in g.graph.items() if k not in ("inputs", "outputs", "value_info")})
        feeds: dict[str, Array] = {}
        for op_id in ops:
            for value in g.op(op_id).operands:
                if value in part or (g.producer(value) in inside):
                    continue
                const = g.const(value)
                part.add_value(value, g.type_of(value), const)
                if const is None:
                    if value not in self.values:
                        raise InputError("input-undrawable", "what is no tensor cannot be fed", node=value)
                    array = np.asarray(self.values[value])
                    feeds[value] = array
                    part.add_value(value, TensorType(DType.of(array.dtype), array.shape))
        part.set_inputs(feeds)
        results: dict[str, str] = {}
        for op_id in ops:
            op = g.op(op_id)
            for value in op.outputs:
                if value:
                    part.add_value(value, g.type_of(value))
                    users = g.users(value)
                    if not users or g.public_names(value) or any(user not in inside for user in users):
                        results[value] = value
            part.add_op(op)
        part.set_outputs(results)
        return part, feeds


def _is_tensor(graph: Graph, value: str) -> bool:
    return isinstance(graph.type_of(value), TensorType)
