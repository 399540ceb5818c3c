"""Why an op is left as it is: what a pass that could have taken it apart says of it, or that none ever will."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coregraft.rewriter.rewriter import Rewriter, TypeChangedError
from coregraft.rewriter.target import Target

if TYPE_CHECKING:
    from coregraft.passes.decompose._base import Decomposition
    from coregraft.rewriter.graph import Graph

_BATCHING = "it packs or unpacks a batch by lengths that are only known at run time"
_ORDERED = "its tensors lie in a memory layout of one GPU library"
_GENERATION = "it generates token by token with whole models inside; convert those models instead"
_PAGED = "it reads a paged cache through tables that are only known at run time"
_HASH = "it computes with 32- or 64-bit wrap-around integers"

#: Op type of ``com.microsoft`` -> why it is refused.
REFUSED: dict[str, str] = {
    "BeamSearch": _GENERATION,
    "GreedySearch": _GENERATION,
    "Sampling": _GENERATION,
    "WhisperBeamSearch": _GENERATION,
    "DecoderMaskedMultiHeadAttention": "it shares the buffers of a generation loop in onnxruntime",
    "DecoderMaskedSelfAttention": "it shares the buffers of a generation loop in onnxruntime",
    "DequantizeBFP": "block floating point is a format of one accelerator",
    "QuantizeBFP": "block floating point is a format of one accelerator",
    "DequantizeWithOrder": _ORDERED,
    "QuantizeWithOrder": _ORDERED,
    **dict.fromkeys((f"QOrdered{n}" for n in ("Attention", "Gelu", "LayerNormalization", "MatMul")), _ORDERED),
    "QOrderedLongformerAttention": _ORDERED,
    "EPContext": "it holds a model compiled for another device",
    "Snpe": "it holds a model compiled for another device",
    "MurmurHash3": _HASH,
    "NGramHashMapping": _HASH,
    "PackedAttention": _BATCHING,
    "PackedMultiHeadAttention": _BATCHING,
    "PagedAttention": _PAGED,
    "RemovePadding": _BATCHING,
    "RestorePadding": _BATCHING,
    "SparseAttention": "its mask is a block-sparse layout that only GPU kernels define",
    "SparseToDenseMatMul": "Core ML has no sparse tensors",
    "Tokenizer": "Core ML has no strings; tokenise before the model",
}
_RANDOM = "Core ML's random numbers are others; draw them before the model and make them an input"
_STRINGS = "Core ML has no strings; do this before the model"
#: Op type of ``ai.onnx`` -> why it is refused, where no pass can take it apart.
REFUSED_ONNX: dict[str, str] = {
    "ImageDecoder": "Core ML decodes images before the model; make the pixels its input",
    **dict.fromkeys(
        ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"), _RANDOM
    ),
    "Optional": "Core ML has no optional values; pin whether it is there",
    **dict.fromkeys(("RegexFullMatch", "StringConcat", "StringNormalizer", "StringSplit"), _STRINGS),
}
#: Domains whose ops are laid out for one machine, with what to do instead.
MACHINE_DOMAINS: dict[str, str] = {
    "com.microsoft.nchwc": "its tensors are laid out for the CPU on which the model was optimised; save the optimised "
    "model with the level ORT_ENABLE_EXTENDED instead of ORT_ENABLE_ALL",
    "com.ms.internal.nhwc": "it is internal to onnxruntime; save the model before it is partitioned",
}
#: Op type of ``ai.onnx.ml`` -> why it is refused.
REFUSED_ML: dict[str, str] = {
    "CategoryMapper": "Core ML has no strings; map categories to integers before the model",
    "DictVectorizer": "Core ML has no maps; make a tensor of the features before the model",
    "CastMap": "Core ML has no maps; make a tensor of the features before the model",
}


def why_kept(g: Graph, op_id: int, target: Target) -> str | None:
    """Why the default pipeline leaves an op that its target has no lowering for, or None when nobody can say.

    Every decomposition of the op is tried for its reason, and what it did is undone.
    """
    op = g.op(op_id)
    if op.domain in MACHINE_DOMAINS:
        return MACHINE_DOMAINS[op.domain]
    known = {"": REFUSED_ONNX, "com.microsoft": REFUSED, "ai.onnx.ml": REFUSED_ML}.get(op.domain, {}).get(op.type)
    if known is not None:
        return known
    reasons = []
    for rule in _decompositions(op.key, target):
        rw = Rewriter(g, rule.name, target)
        try:
            done = rule.match_and_rewrite(op_id, rw)
        except TypeChangedError as error:
            reasons.append(error.message)
            continue
        finally:
            rw.rollback()
        if not isinstance(done, bool):
            reasons.append(str(done))
    if not reasons and op.domain == "com.microsoft":
        return "no rule writes this op of onnxruntime's in ops of ONNX"
    return "; ".join(reasons) or None


def _decompositions(key: tuple[str, str], target: Target) -> list[Decomposition]:
    """The rules of the default pipeline that take ops of a type apart, in its order."""
    from coregraft.passes.decompose._base import Decomposition
    from coregraft.passes.pipelines import convert_pipeline
    from coregraft.rewriter.registry import pass_class

    names = dict.fromkeys(spec.partition("{")[0] for spec in convert_pipeline(target, "fp32"))
    classes = [pass_class(name) for name in names]
    rules = [cls() for cls in classes if issubclass(cls, Decomposition)]
    return [rule for rule in rules if key in rule.root_keys()]
