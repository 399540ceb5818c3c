"""One model through everything, as a child of the sweep: prints one JSON line a stage, as soon as the stage is over.

The stages, in order; one that fails says how and does not keep the others from running:

* ``exact``: load and save, and every field and byte is as it was.
* ``rewrite``: the default rewrites; how far the outputs move, by onnxruntime with its own rewrites off.
* ``prepare``: all that a conversion does before lowering, sizes fixed and in fp32; how far the outputs move.
* ``fp32``, ``fp16``: conversion to an ML Program, saved; and how far it is from the model, lifted back to ONNX.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.feeds import Array, make_feeds
from benchmarks.models import EXPORTS, MODELS, Model, read_manifest

STAGES = ("exact", "rewrite", "prepare", "fp32", "fp16")
Facts = dict[str, Any]


def main() -> int:
    """``examine.py ID PATH STAGE ...``: called by the sweep."""
    name, path, *stages = sys.argv[1:]
    model = next(m for manifest in (MODELS, EXPORTS) for m in read_manifest(manifest)[1] if m.id == name)
    for stage in stages:
        with tempfile.TemporaryDirectory(prefix="coregraft-sweep-") as folder:
            outcome = attempt(lambda s=stage, f=folder: _STAGES[s](model, Path(path), Path(f)))  # type: ignore[misc]
        print(json.dumps({"stage": stage, **outcome}), flush=True)
    return 0


def attempt(stage: Callable[[], Facts]) -> Facts:
    """The facts that a stage finds, or the code and reason of its failure."""
    from coregraft.rewriter.errors import CoregraftError

    try:
        return stage()
    except CoregraftError as error:
        return {"code": error.code, "reason": str(error).partition("] ")[2]}
    except Exception as error:  # noqa: BLE001  # a bug, which the sweep is there to find
        where = traceback.extract_tb(error.__traceback__)[-1]
        return {"code": "crash", "reason": f"{type(error).__name__} in {where.name}: {error}"}


def exact(model: Model, path: Path, folder: Path) -> Facts:
    """Compare a saved copy with the model, external files included."""
    import onnx

    from coregraft.rewriter.onnx_io.load import load
    from coregraft.rewriter.onnx_io.save import save

    graph = load(path)
    copy = folder / path.name
    save(graph, copy)
    before, after = (onnx.load(p, load_external_data=False) for p in (path, copy))
    files = sorted(p.name for p in folder.iterdir() if p != copy)
    same = before == after and all((folder / f).read_bytes() == (path.parent / f).read_bytes() for f in files)
    facts: Facts = {"opset": graph.opsets.get("", 0), "ops": sum(1 for _ in graph.ops())}
    return facts if same else {**facts, "code": "round-trip", "reason": "the saved copy is not the model"}


def rewrite(model: Model, path: Path, folder: Path) -> Facts:
    """The default rewrites, sizes left open."""
    from coregraft.passes.pipelines import rewrite_pipeline
    from coregraft.rewriter.manager import PassManager
    from coregraft.rewriter.onnx_io.load import load
    from coregraft.rewriter.onnx_io.save import save
    from coregraft.rewriter.onnx_io.text import to_text

    graph = PassManager(rewrite_pipeline()).run(load(path)).graph
    copy = folder / "rewritten.onnx"
    save(graph, copy)
    digests = [_sha256(to_text(graph, exact=False).encode()), _sha256(copy.read_bytes())]
    return {"ops": sum(1 for _ in graph.ops()), "digests": digests, **compare(model, path, copy)}


def prepare(model: Model, path: Path, folder: Path) -> Facts:
    """What lowering is given, in fp32."""
    from coregraft.lowering import targets
    from coregraft.passes.pipelines import convert_pipeline
    from coregraft.rewriter.manager import PassManager
    from coregraft.rewriter.onnx_io.load import load
    from coregraft.rewriter.onnx_io.save import save
    from coregraft.rewriter.shapes.dims import pin_dims

    goal = targets.get(targets.DEFAULT, "mlprogram")
    graph = load(path)
    pin_dims(graph, {}, shapes_of(model))
    done = PassManager(convert_pipeline(goal, "fp32"), goal).run_in_place(graph).graph
    copy = folder / "prepared.onnx"
    save(done, copy)
    return {"ops": sum(1 for _ in done.ops()), **compare(model, path, copy)}


def fp32(model: Model, path: Path, folder: Path) -> Facts:
    return _convert(model, path, folder, "fp32")


def fp16(model: Model, path: Path, folder: Path) -> Facts:
    return _convert(model, path, folder, "fp16")


def _convert(model: Model, path: Path, folder: Path, precision: Any) -> Facts:
    from benchmarks.parity import measure
    from coregraft.lowering.convert import convert

    done = convert(path, precision=precision, shapes=shapes_of(model))
    package = folder / "model.mlpackage"
    done.save(package)
    files = sorted(p for p in package.rglob("*") if p.is_file())
    content = b"".join(str(p.relative_to(package)).encode() + p.read_bytes() for p in files)
    facts = {"ops": sum(done.report.mil_ops.values()), "digests": [_sha256(content)]}
    return {**facts, "parity": measure(model, path, package)}


def shapes_of(model: Model) -> dict[str, tuple[int, ...]]:
    """The shapes at which a model is converted: those of its feeds."""
    return {f["name"]: tuple(f["shape"]) for f in model.feeds}


def compare(model: Model, before: Path, after: Path) -> Facts:
    """The largest difference of two models' outputs on the model's feeds, over the output's largest value."""
    from coregraft.rewriter.errors import CoregraftError

    feeds = make_feeds(model)
    reference, found = run(before, feeds), run(after, feeds)
    if list(reference) != list(found):
        raise CoregraftError("outputs-differ", f"outputs {list(found)} instead of {list(reference)}")
    return {"error": max((difference(name, a, found[name]) for name, a in reference.items()), default=0.0)}


def run(path: Path, feeds: Mapping[str, Array]) -> dict[str, Any]:
    """The outputs of a model by name; an input that the model no longer has is not fed."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = {i.name for i in session.get_inputs()}
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(None, {k: v for k, v in feeds.items() if k in inputs}), strict=True))


def difference(name: str, reference: Any, found: Any) -> float:
    """The largest difference of two outputs over the first one's largest value; 0 for equal ones of any kind.

    Raises:
        CoregraftError: ``outputs-differ``: other shapes, types, labels or places that are not finite.
    """
    from coregraft.rewriter.errors import CoregraftError

    if isinstance(reference, list):  # a sequence, or the maps that a classifier gives
        if reference == found:
            return 0.0
        raise CoregraftError("outputs-differ", "the sequences differ", node=name)
    if reference.shape != found.shape or reference.dtype != found.dtype:
        problem = f"{found.dtype}{list(found.shape)} instead of {reference.dtype}{list(reference.shape)}"
        raise CoregraftError("outputs-differ", problem, node=name)
    if not reference.size or reference.dtype.kind not in "fiub":
        if np.array_equal(reference, found):
            return 0.0
        raise CoregraftError("outputs-differ", "the contents differ", node=name)
    a, b = reference.astype(np.float64), found.astype(np.float64)
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        raise CoregraftError("outputs-differ", "other elements are finite", node=name)
    a, b = a[np.isfinite(a)], b[np.isfinite(a)]
    return float(np.abs(a - b).max(initial=0.0) / max(np.abs(a).max(initial=0.0), 1e-30))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


_STAGES: dict[str, Callable[[Model, Path, Path], Facts]] = {
    "exact": exact,
    "rewrite": rewrite,
    "prepare": prepare,
    "fp32": fp32,
    "fp16": fp16,
}

if __name__ == "__main__":
    sys.exit(main())
