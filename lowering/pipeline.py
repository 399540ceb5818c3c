"""Which of coremltools' graph passes run on the MIL program, and the checks that it can be loaded afterwards.

Fusion and precision are decided in the graph (``coregraft.passes``), so little is left to do here. Of coremltools' 95
common passes six change the results of legal graphs (hazards H2.01-H2.05, H2.19), ``const_deduplication`` merges
constants that are only nearly equal, and ``Program.validate`` between passes costs as much as the passes. The short
list therefore names what is run, in order, and validates once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from coregraft.lowering.emitter import BUILDER_ERRORS
from coregraft.lowering.partial import forget_parts
from coregraft.rewriter.errors import CoregraftError, UnsupportedError, UsageError
from coregraft.rewriter.target import Target

PIPELINES: tuple[str, ...] = ("short", "default", "none")

#: What the short pipeline runs: folding of what emitters compute from constants, and the layout clean-ups that only
#: show in MIL. Nothing in it does arithmetic on weights.
SHORT: tuple[str, ...] = (
    "common::const_elimination",
    "common::dead_code_elimination",
    "common::cast_optimization",
    "common::merge_consecutive_reshapes",
    "common::merge_consecutive_transposes",
    "common::fuse_transpose_matmul",
    "common::expand_high_rank_reshape_and_transpose",
    "common::reduce_transposes",
    "common::const_elimination",
    "common::dead_code_elimination",
    "common::dedup_op_and_var_names",
)

#: Passes that must never be in the short list: they change results (hazards H2.01-H2.06, H2.12, H2.16, H2.21,
#: H4.06-H4.08), or decide what the graph has decided.
EXCLUDED: tuple[str, ...] = (
    "common::add_fp16_cast",
    "common::add_int16_cast",
    "common::const_deduplication",
    "common::divide_to_multiply",
    "common::fuse_conv_batchnorm",
    "common::fuse_conv_bias",
    "common::fuse_conv_scale",
    "common::fuse_dilated_conv",
    "common::fuse_elementwise_to_batchnorm",
    "common::fuse_layernorm_or_instancenorm",
    "common::fuse_linear_bias",
    "common::fuse_matmul_weight_bias",
    "common::fuse_onehot_matmul_to_gather",
    "common::fuse_pad_conv",
    "common::guard_negative_gather_indices",
    "common::merge_consecutive_paddings",
    "common::noop_elimination",
    "common::select_optimization",
)

#: What each format needs to be exported at all. ``mil_backend::fuse_pow2_sqrt`` (H2.04: sqrt(x²) becomes x) belongs to
#: coremltools' list for ML Programs, which its pipeline gives no means to change; naming the passes here leaves it out.
_EXPORT: dict[str, tuple[str, ...]] = {
    "mlprogram": ("mil_backend::sanitize_name_strings", "nn_backend::handle_unused_inputs"),
    "neuralnetwork": (
        "nn_backend::decompose_conv1d",
        "nn_backend::commingle_loop_vars",
        "nn_backend::handle_return_inputs_as_outputs",
        "common::const_elimination",
        "common::dead_code_elimination",
        "nn_backend::handle_unused_inputs",
    ),
}


def passes_for(pipeline: str, format: str) -> list[str]:
    """The names of the coremltools passes of a pipeline, in order, those the export needs included.

    Args:
        pipeline: ``short``, ``none``, or ``default`` for coremltools' own list without its precision passes.
        format: model format.

    Raises:
        UsageError: ``pipeline-unknown``.
    """
    if pipeline not in PIPELINES:
        raise UsageError(
            "pipeline-unknown", f'coremltools pipeline "{pipeline}" is unknown', hint=f"one of {', '.join(PIPELINES)}"
        )
    if pipeline == "default":
        from coremltools import PassPipeline

        precision = ("common::add_fp16_cast", "common::add_int16_cast")
        common = [name for name in PassPipeline.DEFAULT.passes if name not in precision]
        return [*common, *PassPipeline.get_pipeline(f"backend_{format}").passes]
    return [*(SHORT if pipeline == "short" else ()), *_EXPORT[format]]


def run(program: Any, target: Target, pipeline: str = "short") -> None:
    """Run a pipeline on a MIL program, in place, and check the result.

    Raises:
        UsageError: ``pipeline-unknown``.
        CoregraftError: ``coremltools-changed`` when the installed coremltools lacks a pass; ``mil-invalid``.
        UnsupportedError: as :func:`check`; ``lowering-failed`` when a pass of coremltools does.
    """
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

    forget_parts(program)
    for name in passes_for(pipeline, target.format):
        if name not in PASS_REGISTRY:
            raise CoregraftError("coremltools-changed", f"the installed coremltools has no pass {name}")
        try:
            PASS_REGISTRY[name](program)
        except BUILDER_ERRORS as error:
            raise UnsupportedError("lowering-failed", f"coremltools' pass {name} failed: {error}") from error
    program.validate()
    check(program, target)


def check(program: Any, target: Target) -> None:
    """Check what Core ML refuses only when a model is loaded on a device.

    Raises:
        UnsupportedError: ``rank-unsupported``: a tensor of more dims than Core ML takes; ``empty-tensor``: one
            without elements.
        CoregraftError: ``mil-invalid``: an operand that has to be constant is not, a bug in an emitter.
    """
    for op in operations(program):
        for var in op.outputs:
            refuse_empty(var.shape or (), var.name)
            if target.max_rank is not None and len(var.shape or ()) > target.max_rank:
                raise UnsupportedError(
                    "rank-unsupported", f"{op.op_type} makes a tensor of rank {len(var.shape)}", node=op.name,
                    hint=f"Core ML takes rank {target.max_rank} at most; a pass can split the op (see CG402)",
                )  # fmt: skip
        for name, kind in op.input_spec.input_types.items():
            var = op.inputs.get(name)
            if kind.const and hasattr(var, "op") and not _is_const(var):
                raise CoregraftError("mil-invalid", f"operand {name} of {op.op_type} must be constant", node=op.name)


def refuse_empty(shape: Sequence[Any], name: str) -> None:
    """Check that a tensor has elements.

    Raises:
        UnsupportedError: ``empty-tensor``.
    """
    if 0 in shape:
        raise UnsupportedError(
            "empty-tensor", f'"{name}" has no elements, and Core ML has no empty tensors', node=name,
            hint="give the model sizes with which nothing is empty",
        )  # fmt: skip


def operations(program: Any) -> Iterator[Any]:
    """Every operation of a MIL program, those in nested blocks included."""
    pending = list(program.functions.values())
    while pending:
        block = pending.pop(0)
        for op in block.operations:
            yield op
            pending.extend(op.blocks)


def _is_const(var: Any) -> bool:
    return var.val is not None or (var.op is not None and var.op.op_type.startswith("constexpr_"))
