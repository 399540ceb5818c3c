"""Version steps that change nothing for a model, each one read and compared with the step before.

A step that is in neither of these tables nor among the adapters is refused: nobody has looked at it yet.
"""

from __future__ import annotations

import functools

#: Attributes, operands and results are the same. Element types were added, or the wording was cleared up:
#: negative axes and indices, the last pooling window under ``ceil_mode`` (the runtimes always dropped it), the side
#: of the odd padding element of ConvTranspose, indices of OneHot below zero (which had to be avoided before).
#: Past opset 24 they add element types (``newer`` finds uses of them) and, for Mod, floor of float quotients.
_WIDENED = """
    Abs 13; Acos 22; Acosh 22; Add 13 14; ArgMax 11 13; ArgMin 11 13; Asin 22; Asinh 22; Atan 22; Atanh 22;
    AveragePool 11 22; BatchNormalization 15; Bernoulli 22; BitShift 28; Cast 9 13 21 23 25 28; CastLike 21 23 25;
    Ceil 13; Celu 28; Clip 12 13; Compress 11 28; Concat 11 13; Constant 9 13 19 21 23 24 25; ConstantOfShape 20 21 23
    24 25; Conv 11 22; ConvTranspose 11 22; Cos 22; Cosh 22; CumSum 14; DeformConv 22; DepthToSpace 13 28;
    DequantizeLinear 19 24 25 28; Det 22; Div 13 14; Dropout 13 22; Einsum 28; Elu 22; Equal 11 13 19; Exp 13; Expand
    13; EyeLike 22; Flatten 9 11 13 21 23 24 25; Floor 13; GRU 22; Gather 11 13; GatherElements 13; GatherND 13; Gemm
    9 13; GlobalAveragePool 22; GlobalLpPool 22; GlobalMaxPool 22; Greater 9 13; GreaterOrEqual 16; GridSample 22;
    HardSigmoid 22; HardSwish 22; Hardmax 11; Identity 13 14 16 19 21 23 24 25; If 11 13 16 19 21 23 24 25;
    InstanceNormalization 22; IsInf 20; IsNaN 13 20; LRN 13; LSTM 22; LeakyRelu 16; Less 9 13; LessOrEqual 16; Log 13;
    LogSoftmax 11; Loop 11 13 16 19 21 23 24 25; LpNormalization 22; LpPool 11 22; MatMul 9 13; Max 8 12 13; MaxPool
    11 12 22; MaxRoiPool 22; MaxUnpool 11 22; Mean 8 13; MeanVarianceNormalization 13; Min 8 12 13; Mish 22; Mod 13
    28; Mul 13 14; Multinomial 22; Neg 13; NegativeLogLikelihoodLoss 13 22; NonMaxSuppression 11; NonZero 13; OneHot
    11 28; Optional 28; OptionalGetElement 18 28; OptionalHasElement 28; PRelu 9 16; Pad 13 19 21 23 24 25; Pow 12 13
    15; QLinearMatMul 21; QuantizeLinear 24 25 28; RNN 22; RandomNormal 22; RandomNormalLike 22; RandomUniform 22;
    RandomUniformLike 22; Reciprocal 13; ReduceL1 11 13; ReduceL2 11 13; ReduceLogSum 11 13 28; ReduceLogSumExp 11 13
    28; ReduceMax 11 12 13 20; ReduceMean 11 13; ReduceMin 11 12 13 20; ReduceProd 11 13; ReduceSum 11;
    ReduceSumSquare 11 13; Relu 13 14; Reshape 13 19 21 23 24 25; Resize 19; ReverseSequence 28; RoiAlign 22; Round
    22; Scan 11 16 19 21 23 24 25; ScatterElements 13 18; ScatterND 13 18; Selu 22; Shape 13 19 21 23 24 25; Sigmoid
    13; Sign 13; Sin 22; Sinh 22; Size 13 19 21 23 24 25; Slice 11 13; Softmax 11; SoftmaxCrossEntropyLoss 13;
    Softplus 22; Softsign 22; SpaceToDepth 13; Split 11; SplitToSequence 24; Sqrt 13; Squeeze 11 21 23 24 25; Sub 13
    14; Sum 8 13; Tan 22; Tanh 13; ThresholdedRelu 22; Tile 13; TopK 24; Transpose 13 21 23 24 25; Unique 28;
    Unsqueeze 11 21 23 24 25; Where 16
"""

#: An attribute or an optional operand was added, whose default is what the op did before.
_DEFAULTED = """
    ArgMax 12; ArgMin 12; Attention 24 25; AveragePool 7 10 19; Cast 19 24; CastLike 19 24; Constant 11 12; DepthToSpace
    11; DequantizeLinear 13 21 23; GRU 14; GatherND 12; Gemm 11; LSTM 14; LpPool 18; MaxPool 8 10; OptionalHasElement
    18; Pad 18; QuantizeLinear 13 19 21 23; RNN 14; Range 27; Reshape 14; Resize 18; ScatterElements 16; ScatterND 16;
    Shape 15; SpaceToDepth 28; TopK 11
"""


@functools.cache
def compatible() -> frozenset[tuple[str, int]]:
    """The (op type, version) of every such step."""
    return frozenset(_read(_WIDENED) | _read(_DEFAULTED))


def widened() -> frozenset[tuple[str, int]]:
    """The steps that leave the form of the op alone."""
    return frozenset(_read(_WIDENED))


def _read(table: str) -> set[tuple[str, int]]:
    steps: set[tuple[str, int]] = set()
    for entry in table.split(";"):
        op_type, *numbers = entry.split()
        steps.update((op_type, int(number)) for number in numbers)
    return steps
