"""What becomes of a case: converted at fp32, saved, lifted from the saved package, run by onnxruntime, compared."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coregraft.rewriter.errors import CoregraftError
from coregraft.rewriter.types import Array
from tests.conformance.cases import Case
from tests.conformance.rules import free_inputs, nodes

TARGET = "iOS17"
_SUFFIXES = {"mlprogram": ".mlpackage", "neuralnetwork": ".mlmodel"}
#: Ops whose results are sums of sines: their absolute error grows with the length.
_FOURIER = frozenset({"DFT", "STFT"})


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Attributes:
        status: ``right``; ``refused:CODE``; ``disputed``, equal to what onnxruntime has where both references
            differ from the case; ``wrong``, converted to something else than was asked for;
            ``unlifted:CODE``, converted to what cannot be run here; ``crash:EXCEPTION``; ``not-applicable:RULE``.
        detail: the message of the error, or where the first difference is.
    """

    status: str
    detail: str = ""

    @property
    def rank(self) -> int:
        """How good it is: higher is better."""
        return rank(self.status)


def rank(status: str) -> int:
    """How good an outcome is: right, refused or not applicable, and the rest, which must not be."""
    kind = status.partition(":")[0]
    return {"right": 2, "refused": 1, "not-applicable": 1, "disputed": 1}.get(kind, 0)


def outcome(case: Case, format: str = "mlprogram", target: str = TARGET) -> Outcome:
    """Try a case."""
    if case.excluded:
        return Outcome(f"not-applicable:{case.excluded}")
    inputs = [info.name for info in free_inputs(case.model)]
    names = [info.name for info in case.model.graph.output]
    stage = "refused"
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"model{_SUFFIXES[format]}"
            features = _convert(case, inputs, path, format, target)
            stage = "unlifted"
            for operands, wanted in case.data:
                found = _run(path, features, dict(zip(inputs, operands, strict=False)))
                for name, want in zip(names, wanted, strict=True):
                    if why := difference(found[name], want, case):
                        return Outcome("wrong", f"{name}: {why}")
    except CoregraftError as error:
        return Outcome(f"{stage}:{error.code}", str(error))
    except Exception as error:  # noqa: BLE001  # that nothing else escapes is what is being tested
        return Outcome(f"crash:{type(error).__name__}", traceback.format_exc())
    return Outcome("right")


def _convert(case: Case, inputs: list[str], path: Path, format: str, target: str) -> tuple[Any, Any]:
    """The features of the package that is written: those of the inputs and of the outputs."""
    import coregraft

    operands = case.data[0][0]
    shapes = {name: a.shape for name, a in zip(inputs, operands, strict=False) if _is_open(case.model, name)}
    done = coregraft.convert(
        case.model, target=target, precision="fp32", format=format, shapes=shapes, fallback="error"
    )
    done.save(path)
    return done.report.inputs, done.report.outputs


def _run(path: Path, features: tuple[Any, Any], operands: Mapping[str, Array]) -> dict[str, Array]:
    """The results of the package by their ONNX names."""
    from coregraft.lowering.lift import lift
    from coregraft.rewriter.execute import run

    inputs, outputs = features
    graph = lift(path)
    feeds = {f.feature: operands[f.name].astype(f.dtype.numpy).reshape(f.shape) for f in inputs if f.name in operands}
    values = run(graph, feeds)
    return {f.name: values[graph.outputs[f.feature]] for f in outputs}


def _is_open(model: Any, name: str) -> bool:
    """Whether the shape of an input has to be given: some dim of it is no number."""
    kind = next(info for info in model.graph.input if info.name == name).type.tensor_type
    return not kind.HasField("shape") or any(not d.HasField("dim_value") for d in kind.shape.dim)


def difference(found: Array, want: Array, case: Case) -> str:
    """How a result differs from the wanted one beyond what is allowed; empty when it does not."""
    if found.shape != want.shape and not (want.ndim == 0 and found.shape == (1,)):
        return f"shape {found.shape}, not {want.shape}"
    found = found.reshape(want.shape)
    with np.errstate(all="ignore"):
        same = _close(found, want, case) if want.dtype.kind == "f" else found.astype(np.int64) == want.astype(np.int64)
    if same.all():
        return ""
    first = tuple(int(i[0]) for i in np.nonzero(~same))
    return f"{int((~same).sum())} of {same.size} elements, the first at {first}: {found[first]}, not {want[first]}"


def _close(found: Array, want: Array, case: Case) -> Array:
    rtol, atol = (2e-3, 2e-4) if want.dtype == np.float16 else (1e-3, 1e-5)
    if any(node.op_type in _FOURIER for node in nodes(case.model)) or case.family in _FOURIER:
        atol = 1e-3
    return np.isclose(found.astype(np.float32), want.astype(np.float32), rtol=rtol, atol=atol, equal_nan=True)
