"""Which applicable cases are within reach: what targets are stated on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tests.conformance import references
from tests.conformance.cases import Case
from tests.conformance.outcome import difference
from tests.conformance.rules import free_inputs, out_of_reach

#: onnxruntime, or onnx's own evaluator where that cannot run it, does not give what the case wants.
REFERENCES_DIFFER = "references-differ"


def beyond(case: Case) -> str | None:
    """Why an applicable case is out of reach: a rule on its tensors, or that the reference does not get it right
    either; None when it is within reach. The reference is onnxruntime, else onnx's evaluator."""
    arrays = [a for operands, wanted in case.data for a in (*operands, *wanted)]
    found = out_of_reach(arrays)
    if found is not None:
        return found
    agrees = _agrees(case, references.by_runtime)
    if agrees is None:
        agrees = _agrees(case, references.by_evaluator)
    return None if agrees else REFERENCES_DIFFER


def by_runtime(case: Case) -> Case:
    """The case with the results that onnxruntime gives, for one that the references do not get as it wants."""
    names = [info.name for info in free_inputs(case.model)]
    data = [(ins, references.by_runtime(case.model, dict(zip(names, ins, strict=False)))) for ins, _ in case.data]
    return replace(case, data=data)


def _agrees(case: Case, run: Any) -> bool | None:
    """Whether a reference gives what the case wants; None where it cannot run the case."""
    names = [info.name for info in free_inputs(case.model)]
    for operands, wanted in case.data:
        try:
            with np.errstate(all="ignore"):
                found = run(case.model, dict(zip(names, operands, strict=False)))
        except Exception:  # noqa: BLE001  # whatever a reference raises, it cannot run the case
            return None
        results = [np.asarray(a) for a in found]
        if len(results) != len(wanted) or any(difference(a, b, case) for a, b in zip(results, wanted, strict=True)):
            return False
    return True
