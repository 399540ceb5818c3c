"""The default pipelines: what ``rewrite``, ``convert`` and ``check`` run when nobody says otherwise.

They are lists of pass specs, so that they can be printed, edited and given back.
"""

from __future__ import annotations

from typing import Literal

from coregraft.rewriter.pipeline import parse_pipeline
from coregraft.rewriter.rule import RuleGroup
from coregraft.rewriter.target import Target

Precision = Literal["fp16", "fp32"]

#: The model's own functions and control flow dissolved, constants folded, shapes worked out.
NORMALISE = ("inline-functions{missing-ops=false}", "dissolve-optionals", "cleanup")
#: What onnxruntime added to ONNX, in terms of ONNX.
CONTRIB = (
    "rename-contrib-ops",
    "unfuse-conv",
    "unfuse-conv-transpose-pads",
    "unfuse-mat-mul",
    "unfuse-gemm",
    "unfuse-gelu",
    "unfuse-bias",
    "unfuse-layer-norm",
    "unfuse-embed-layer-norm",
    "unfuse-group-norm",
    "unfuse-attention",
    "unfuse-multi-head-attention",
    "unfuse-group-query-attention",
    "unfuse-rotary-embedding",
    "unfuse-qlinear",
    "unfuse-qlinear-conv",
    "unfuse-qgemm",
    "unfuse-integer-mat-mul",
    "unfuse-dynamic-lstm",
    "unfuse-mat-mul-n-bits",
    "unfuse-mat-mul-bnb4",
    "unfuse-gather-block-quantized",
    "unfuse-nhwc-max-pool",
    "decompose-inverse",
    "decompose-crop-and-resize",
    "decompose-ngram-repeat-block",
)
#: Chains that are one op to Core ML, and constants that belong into weights.
FUSE = (
    "fuse-conv-output",
    "reciprocal-of-conv",  # between the two: it looks for a folded convolution, and leaves a factor
    "fuse-conv-input",
    "fuse-matmul-batch-norm",
    "fuse-mean",
    "fuse-layer-norm",
    "fuse-rms-norm",
    "fuse-gelu",
    "fuse-hard-swish",
    "fuse-swish",
    "fuse-softmax",
)
#: Forms that coremltools or the hardware gets wrong.
ORDER = ("two-pass-variance", "root-of-square", "private-conv-bias", "order-residual")
#: Loops unrolled as far as the declared shapes of their results allow, the rest in the one form that Core ML has.
LOOPS = ("complete-shapes", "bind-trip-count", "cleanup", "scan-to-loop", "preallocate-scan-outputs", "sink-constants")
#: Parameters that only the run time knows, as far as the shapes of results settle them.
PARAMETERS = (
    "complete-shapes",
    "bind-sizes",
    "bind-parameters",
    "choose-axes",
    "gather-padded",
    "gather-slice",
    "gather-pad",
    "gather-compress",
    "decompose-unique",
    "decompose-mel-weight-matrix",
    "decompose-trilu",
)
#: What the data selects, of fixed size beside a mask, as far as the ops go that take it.
SELECTIONS = ("dissolve-empty-guards", "mask-selections", "eliminate-dead-code", "cleanup")
#: Dilated convolutions, and convolutions in canonical form.
CONVOLUTIONS = ("replace-dilated-conv", "cancel-phase-pairs", "canonical-conv-transpose", "lift-conv3d")
#: What a target lacks, in terms of what it has.
DECOMPOSE = (
    "dissolve-sequences",
    "fuse-log-softmax",
    "fuse-log-sigmoid",
    "fuse-log-sum-exp",
    "decompose-scaler",
    "number-labels",
    "decompose-tree-ensemble",
    "drop-zip-map",
    "decompose-tree-ensemble-classifier",
    "decompose-tree-ensemble-regressor",
    "decompose-linear-regressor",
    "decompose-normalizer",
    "decompose-imputer",
    "decompose-feature-ops",
    "decompose-label-encoder",
    "decompose-linear-classifier",
    "decompose-svm-regressor",
    "decompose-svm-classifier",
    "decompose-array-feature-extractor",
    "decompose-einsum",
    "decompose-qlinear-conv",
    "decompose-qlinear-matmul",
    "decompose-conv-integer",
    "decompose-matmul-integer",
    "decompose-dynamic-quantize-linear",
    "decompose-deform-conv",
    "decompose-affine-grid",
    "decompose-grid-sample",
    "decompose-roi-align",
    "decompose-max-roi-pool",
    "decompose-tf-idf-vectorizer",
    "decompose-non-max-suppression",
    "decompose-bit-cast",
    "decompose-dynamic-resize",
    "decompose-resize",
    "decompose-dft",
    "decompose-stft",
    "decompose-col2im",
    "decompose-det",
    "unroll-gru",
    "unroll-lstm",
    "unroll-rnn",
    "decompose-max-pool",
    "decompose-average-pool",
    "decompose-max-unpool",
    "decompose-pow",
    "stabilize-softplus",
    "stabilize-mish",
    "stabilize-log-softmax",
    "stabilize-log-sum-exp",
    # Last, for what has nothing better: the function by which ONNX defines an op.
    "inline-functions{local=false}",
)
#: What half precision cannot hold.
HALF = ("bound-mask-constants", "merge-tiny-scales", "raise-epsilon", "explicit-reciprocal")


def rewrite_pipeline() -> list[str]:
    """ONNX to ONNX: clean, fused, in a sturdy order, without dilated convolutions that blow up."""
    return [*NORMALISE, *FUSE, *ORDER, "replace-dilated-conv", "cancel-phase-pairs", "cleanup"]


def convert_pipeline(target: Target, precision: Precision) -> list[str]:
    """Everything between a loaded model and its lowering for a target, the assignment of precision last."""
    half = [*HALF, "assign-precision"] if precision != "fp32" else ["assign-precision{precision=fp32}"]
    return [
        *NORMALISE,
        "sink-constants",
        *CONTRIB,
        "select-if",
        *LOOPS,
        "resolve-auto-pad",
        *PARAMETERS,
        *SELECTIONS,
        *FUSE,
        *ORDER,
        *DECOMPOSE,
        "infer-shapes",
        "drop-empty-tensors",
        "decompose-conv-transpose",
        "decompose-conv",
        *CONVOLUTIONS,
        "split-high-rank",
        "cleanup",
        "form-linear",
        *half,
        "eliminate-identities",
        "eliminate-dead-code",
    ]


def default_names() -> list[str]:
    """The names of all passes that a default pipeline runs, the public rules of groups included."""
    passes = parse_pipeline([*rewrite_pipeline(), *convert_pipeline(Target.any(), "fp16")])
    parts = [rule for group in passes if isinstance(group, RuleGroup) for rule in group.rules() if rule.is_public]
    return sorted({pass_.name for pass_ in (*passes, *parts)})
