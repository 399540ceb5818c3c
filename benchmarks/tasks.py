"""One measurement in a fresh process: ``tasks.py TASK TOOL MODEL FOLDER`` prints its figures as a line of JSON.

What a task prepares (imports, files that are read beforehand) is not measured. Figures: ``cpu``, seconds of user and
system time of all threads; ``peak``, bytes by which the process grew at most, None where the system does not say;
and what the task says of its result, such as the nodes that are left.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: A prepared call: the work, and afterwards facts about what it returned.
Prepared = tuple[Callable[[], Any], Callable[[Any], dict[str, Any]]]
Task = Callable[[Path, Path], Prepared]


def _nothing(_: Any) -> dict[str, Any]:
    return {}


# ---------------------------------------------------------------- load: from a file to the tool's own graph


def load_coregraft(path: Path, folder: Path) -> Prepared:
    from coregraft.rewriter.onnx_io.load import load

    return lambda: load(path), lambda g: {"nodes": sum(1 for _ in g.ops())}


def load_onnx(path: Path, folder: Path) -> Prepared:
    import onnx

    return lambda: onnx.load(path), lambda m: {"nodes": len(m.graph.node)}


def load_onnxscript(path: Path, folder: Path) -> Prepared:
    import onnx_ir

    return lambda: onnx_ir.load(path), lambda m: {"nodes": len(m.graph)}


def load_graphsurgeon(path: Path, folder: Path) -> Prepared:
    import onnx
    import onnx_graphsurgeon as gs

    return lambda: gs.import_onnx(onnx.load(path)), lambda g: {"nodes": len(g.nodes)}


# ---------------------------------------------------------------- shapes: of a graph that is loaded already


def shapes_coregraft(path: Path, folder: Path) -> Prepared:
    from coregraft.rewriter.onnx_io.load import load
    from coregraft.rewriter.shapes import infer_shapes

    g = load(path)
    return lambda: infer_shapes(g), lambda _: {"typed": sum(g.tensor_type(v) is not None for v in g.values())}


def shapes_onnx(path: Path, folder: Path) -> Prepared:
    import onnx

    model = onnx.load(path)
    return lambda: onnx.shape_inference.infer_shapes(model), lambda m: {"typed": len(m.graph.value_info)}


# ---------------------------------------------------------------- clean-up: from file to file


def clean_coregraft(path: Path, folder: Path) -> Prepared:
    import onnxruntime  # noqa: F401  # constants are folded with it; its import is not the work

    import coregraft.passes.pipelines  # noqa: F401
    from coregraft.rewriter.manager import PassManager
    from coregraft.rewriter.onnx_io.load import load
    from coregraft.rewriter.onnx_io.save import save

    manager = PassManager("cleanup,fuse-batch-norm")

    def work() -> Any:
        g = manager.run_in_place(load(path)).graph
        save(g, folder / "out.onnx")
        return g

    return work, lambda g: {"nodes": sum(1 for _ in g.ops())}


def clean_onnxsim(path: Path, folder: Path) -> Prepared:
    import onnx
    import onnxsim

    def work() -> Any:
        model, _ = onnxsim.simplify(str(path))
        onnx.save(model, folder / "out.onnx")
        return model

    return work, lambda m: {"nodes": len(m.graph.node)}


def clean_onnxslim(path: Path, folder: Path) -> Prepared:
    import onnx
    import onnxslim

    def work() -> Any:
        model = onnxslim.slim(str(path))
        onnx.save(model, folder / "out.onnx")
        return model

    return work, lambda m: {"nodes": len(m.graph.node)}


def clean_onnxscript(path: Path, folder: Path) -> Prepared:
    import onnx_ir
    import onnxscript.optimizer
    import onnxscript.rewriter
    from onnxscript.rewriter.rules.common import _fuse_batchnorm

    def work() -> Any:
        model = onnx_ir.load(path)
        onnxscript.optimizer.optimize_ir(model)
        _fuse_batchnorm.rules.apply_to_model(model)
        onnx_ir.save(model, folder / "out.onnx")
        return model

    return work, lambda m: {"nodes": len(m.graph)}


def clean_graphsurgeon(path: Path, folder: Path) -> Prepared:
    import onnx
    import onnx_graphsurgeon as gs
    import onnxruntime  # noqa: F401

    def work() -> Any:
        g = gs.import_onnx(onnx.load(path))
        g.fold_constants().cleanup().toposort()
        onnx.save(gs.export_onnx(g), folder / "out.onnx")
        return g

    return work, lambda g: {"nodes": len(g.nodes)}


# ---------------------------------------------------------------- one rule on a graph that is loaded already


def _rules_coregraft(rules: list[Any], path: Path) -> Prepared:
    from coregraft.rewriter.contract import Context
    from coregraft.rewriter.onnx_io.load import load
    from coregraft.rewriter.shapes import infer_shapes

    g = load(path)
    infer_shapes(g)
    ctx = Context(pass_name="benchmark")
    nodes = sum(1 for _ in g.ops())
    for rule in rules:  # once a process, patterns are traced and plugins looked for
        rule.compiled(), rule.spec()
    return lambda: ctx.rewrite(g, rules), lambda fired: {"nodes": nodes, "matches": fired}


def _rules_onnxscript(rules: Any, path: Path) -> Prepared:
    import onnx_ir

    model = onnx_ir.load(path)
    nodes = len(model.graph)
    return lambda: rules.apply_to_model(model), lambda fired: {"nodes": nodes, "matches": fired}


def never_coregraft(path: Path, folder: Path) -> Prepared:
    from benchmarks.rules import Never

    return _rules_coregraft([Never()], path)


def never_onnxscript(path: Path, folder: Path) -> Prepared:
    from onnxscript.rewriter import RewriteRule, RewriteRuleSet

    def pattern(op: Any, x: Any, w: Any, s: Any, b: Any, m: Any, v: Any) -> Any:
        return op.Relu(op.BatchNormalization(op.MatMul(x, w), s, b, m, v))

    def replacement(op: Any, x: Any, w: Any, s: Any, b: Any, m: Any, v: Any) -> Any:
        return op.Relu(op.MatMul(x, w))

    return _rules_onnxscript(RewriteRuleSet([RewriteRule(pattern, replacement)]), path)


def replace_coregraft(path: Path, folder: Path) -> Prepared:
    from benchmarks.rules import AddThenRelu

    return _rules_coregraft([AddThenRelu()], path)


def replace_onnxscript(path: Path, folder: Path) -> Prepared:
    from onnxscript.rewriter import RewriteRule, RewriteRuleSet

    def pattern(op: Any, x: Any, y: Any) -> Any:
        return op.Relu(op.Add(x, y))

    def replacement(op: Any, x: Any, y: Any) -> Any:
        return op.AddRelu(x, y, _domain="benchmark")

    return _rules_onnxscript(RewriteRuleSet([RewriteRule(pattern, replacement)]), path)


def fold_coregraft(path: Path, folder: Path) -> Prepared:
    from coregraft.passes.fuse.fuse_batch_norm import FuseBatchNorm

    return _rules_coregraft([FuseBatchNorm()], path)


def fold_onnxscript(path: Path, folder: Path) -> Prepared:
    from onnxscript.rewriter.rules.common import _fuse_batchnorm

    return _rules_onnxscript(_fuse_batchnorm.rules, path)


def fifty_coregraft(path: Path, folder: Path) -> Prepared:
    from benchmarks.rules import fifty

    return _rules_coregraft(fifty(), path)


# ---------------------------------------------------------------- convert: from a file to a saved package


def _convert_coregraft(precision: Any) -> Task:
    def prepare(path: Path, folder: Path) -> Prepared:
        import coremltools  # noqa: F401
        import onnxruntime  # noqa: F401

        import coregraft.passes.pipelines  # noqa: F401
        from coregraft.lowering.convert import convert

        return lambda: convert(path, precision=precision).save(folder / "out.mlpackage"), _nothing

    return prepare


def _convert_onnx2coreml(precision: str) -> Task:
    def prepare(path: Path, folder: Path) -> Prepared:
        import coremltools  # noqa: F401
        import onnx2coreml

        def work() -> None:
            onnx2coreml.convert(str(path), compute_precision=precision).save(str(folder / "out.mlpackage"))

        return work, _nothing

    return prepare


TASKS: dict[str, dict[str, Task]] = {
    "load": {
        "coregraft": load_coregraft,
        "onnx": load_onnx,
        "onnxscript": load_onnxscript,
        "graphsurgeon": load_graphsurgeon,
    },
    "shapes": {"coregraft": shapes_coregraft, "onnx": shapes_onnx},
    "clean": {
        "coregraft": clean_coregraft,
        "onnxsim": clean_onnxsim,
        "onnxslim": clean_onnxslim,
        "onnxscript": clean_onnxscript,
        "graphsurgeon": clean_graphsurgeon,
    },
    "never": {"coregraft": never_coregraft, "onnxscript": never_onnxscript},
    "replace": {"coregraft": replace_coregraft, "onnxscript": replace_onnxscript},
    "fold": {"coregraft": fold_coregraft, "onnxscript": fold_onnxscript},
    "rules": {"coregraft, 1 rule": never_coregraft, "coregraft, 50 rules": fifty_coregraft},
    "fp16": {"coregraft": _convert_coregraft("fp16"), "onnx2coreml": _convert_onnx2coreml("fp16")},
    "fp32": {"coregraft": _convert_coregraft("fp32"), "onnx2coreml": _convert_onnx2coreml("fp32")},
}


def measure(prepared: Prepared) -> dict[str, Any]:
    """Do the work once and measure it."""
    work, facts = prepared
    gc.collect()
    before = _memory("VmRSS") if _reset_peak() else None
    started = time.process_time()
    result = work()
    cpu = time.process_time() - started
    peak = None if before is None else _memory("VmHWM") - before
    return {"cpu": cpu, "peak": peak, **facts(result)}


def _reset_peak() -> bool:
    """Let the kernel count the peak of resident memory anew; False where that cannot be asked."""
    clear = Path("/proc/self/clear_refs")
    if not clear.exists():
        return False
    clear.write_text("5")
    return True


def _memory(field: str) -> int:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field))
    return int(line.split()[1]) * 1024


def main() -> int:
    task, tool, path, folder = sys.argv[1:]
    print(json.dumps(measure(TASKS[task][tool](Path(path), Path(folder)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
