"""Every pass and rule of ours by name; what a test holds complete."""

PASSES: dict[str, str] = {
    "decompose-einsum": "coregraft.passes.decompose.decompose_einsum:DecomposeEinsum",
    "eliminate-common-subexpressions": "coregraft.passes.cleanup.eliminate_common_subexpressions:EliminateCommonSubexpressions",
    "eliminate-dead-code": "coregraft.passes.cleanup.eliminate_dead_code:EliminateDeadCode",
    "fold-constants": "coregraft.passes.cleanup.fold_constants:FoldConstants",
    "replace-dilated-conv": "coregraft.passes.conv.replace_dilated_conv:ReplaceDilatedConv",
    "unroll-gru": "coregraft.passes.decompose.unroll_gru:UnrollGru",
    "unroll-lstm": "coregraft.passes.decompose.unroll_lstm:UnrollLstm",
    "unroll-rnn": "coregraft.passes.decompose.unroll_rnn:UnrollRnn",
}
