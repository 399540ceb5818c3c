"""What becomes of a case: converted, saved, lifted from the saved package, run by onnxruntime, compared."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from coregraft.rewriter.errors import CoregraftError
from coregraft.rewriter.types import Array
from tests.conformance import half
from tests.conformance.cases import Case
from tests.conformance.rules import free_inputs, nodes
from tests.conformance.setting import BASE, Setting

_SUFFIXES = {"mlprogram": ".mlpackage", "neuralnetwork": ".mlmodel"}
#: What a case may end as, beside right.
_FAIR = frozenset({"refused", "not-applicable", "disputed", "range", "rounded", "untried"})
#: Ops whose results are sums of sines: their absolute error grows with the length.
_FOURIER = frozenset({"DFT", "STFT"})


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Attributes:
        status: ``right``; ``refused:CODE``; ``disputed``, equal to what onnxruntime has where both references
            differ from the case; ``range:inf``, ``range:nan`` and ``rounded``, as far from it as half precision
            explains, see :mod:`~tests.conformance.half`; ``wrong``, converted to something else than was asked for;
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
    """How good an outcome is: right, refused or the like, and the rest, which must not be."""
    kind = status.partition(":")[0]
    return 2 if kind == "right" else int(kind in _FAIR)


def outcome(case: Case, setting: Setting = BASE) -> Outcome:
    """Try a case."""
    if case.excluded:
        return Outcome(f"not-applicable:{case.excluded}")
    inputs = [info.name for info in free_inputs(case.model)]
    stage = "refused"
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"model{_SUFFIXES[setting.format]}"
            package = Package(path, *_convert(case, inputs, path, setting))
            stage = "unlifted"
            ends = [_compared(package, case, inputs, *pair, setting) for pair in case.data]
    except CoregraftError as error:
        return Outcome(f"{stage}:{error.code}", str(error))
    except Exception as error:  # noqa: BLE001  # that nothing else escapes is what is being tested
        return Outcome(f"crash:{type(error).__name__}", traceback.format_exc())
    return min(ends, key=lambda ended: ended.rank)


@dataclass(frozen=True)
class Package:
    """A saved package and its features."""

    path: Path
    inputs: Sequence[Any]
    outputs: Sequence[Any]

    def run(self, operands: Mapping[str, Array], fp16: Literal["simulate", "exact"] = "simulate") -> dict[str, Array]:
        """Its results by their ONNX names."""
        from coregraft.lowering.lift import lift
        from coregraft.rewriter.execute import run

        graph = lift(self.path, fp16=fp16)
        feeds = {
            f.feature: operands[f.name].astype(f.dtype.numpy).reshape(f.shape)
            for f in self.inputs if f.name in operands
        }  # fmt: skip
        values = run(graph, feeds)
        return {f.name: values[graph.outputs[f.feature]] for f in self.outputs}


def _convert(case: Case, inputs: list[str], path: Path, setting: Setting) -> tuple[Any, Any]:
    """The features of the package that is written: those of the inputs and of the outputs."""
    import coregraft

    operands = case.data[0][0]
    shapes = {name: a.shape for name, a in zip(inputs, operands, strict=False) if _is_open(case.model, name)}
    done = coregraft.convert(
        case.model, target=setting.target, precision=setting.precision, format=setting.format, shapes=shapes,
        fallback="error",
    )  # fmt: skip
    done.save(path)
    return done.report.inputs, done.report.outputs


def _compared(
    package: Package, case: Case, inputs: list[str], operands: Sequence[Array], wanted: Sequence[Array],
    setting: Setting,
) -> Outcome:  # fmt: skip
    """How the results of a package compare with the wanted ones."""
    names = [info.name for info in case.model.graph.output]
    feeds = dict(zip(inputs, operands, strict=False))

    def results(fp16: Literal["simulate", "exact"] = "simulate") -> list[Array]:
        values = package.run(feeds, fp16)
        return [_as_scalar(values[name], want) for name, want in zip(names, wanted, strict=True)]

    found = results()
    for name, a, want in zip(names, found, wanted, strict=True):
        if why := mismatch(a, want) or _kind_of(package, name, want, setting):
            return Outcome("wrong", f"{name}: {why}")
    if setting.precision == "fp16":
        return Outcome(*half.verdict(found, lambda: results("exact"), case, operands, wanted))
    for name, a, want in zip(names, found, wanted, strict=True):
        if why := difference(a, want, case):
            return Outcome("wrong", f"{name}: {why}")
    return Outcome("right")


def _as_scalar(found: Array, want: Array) -> Array:
    """A vector of one, which Core ML has for a scalar, as a scalar where that is wanted."""
    return found.reshape(()) if want.ndim == 0 and found.shape == (1,) else found


def _kind_of(package: Package, name: str, want: Array, setting: Setting) -> str:
    """What is amiss with the element type of a feature; a neural network has integers as floats."""
    declared = next(f.dtype for f in package.outputs if f.name == name)
    if setting.format == "neuralnetwork" or declared.is_float == (want.dtype.kind == "f"):
        return ""
    return f"declared {declared.name.lower()}, not {want.dtype}"


def _is_open(model: Any, name: str) -> bool:
    """Whether the shape of an input has to be given: some dim of it is no number."""
    kind = next(info for info in model.graph.input if info.name == name).type.tensor_type
    return not kind.HasField("shape") or any(not d.HasField("dim_value") for d in kind.shape.dim)


def mismatch(found: Array, want: Array) -> str:
    """How the shape of a result differs from the wanted one."""
    return "" if found.shape == want.shape else f"shape {found.shape}, not {want.shape}"


def difference(found: Array, want: Array, case: Case) -> str:
    """How a result differs from the wanted one beyond what is allowed; empty when it does not."""
    if why := mismatch(found, want):
        return why
    with np.errstate(all="ignore"):
        same = _close(found, want, case) if want.dtype.kind == "f" else found.astype(np.int64) == want.astype(np.int64)
    same = np.asarray(same)
    return "" if same.all() else half.first_of(~same, found, want)


def _close(found: Array, want: Array, case: Case) -> Array:
    rtol, atol = (2e-3, 2e-4) if want.dtype == np.float16 else (1e-3, 1e-5)
    if any(node.op_type in _FOURIER for node in nodes(case.model)) or case.family in _FOURIER:
        atol = 1e-3
    return np.isclose(found.astype(np.float32), want.astype(np.float32), rtol=rtol, atol=atol, equal_nan=True)
