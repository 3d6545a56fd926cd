"""What operators other than products cost, in element-wise operations. The weights are a choice.

One for an addition, multiplication or comparison of each output; one for each input of a reduction;
four where a function is approximated (sigmoid, exponential, root); seven for each output of softmax,
layer normalisation and interpolation; nothing for moving values. BatchNorm takes two, and is
reported on its own because it can be folded into the convolution before it.
"""

from __future__ import annotations

from vlif_plugin.energy.marks import KEEPING

_MOVES = frozenset((
    "cat", "stack", "constant_pad_nd", "copy", "fill", "zero", "zeros", "ones", "full", "empty",
    "empty_like", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full",
    "new_empty", "new_empty_strided", "empty_strided", "arange", "scalar_tensor", "lift_fresh",
    "scatter", "index_put", "_local_scalar_dense", "_reshape_alias", "tril", "triu", "eye", "linspace", "resize", "set",
    "view_as_real", "view_as_complex",
))  # fmt: skip
_ONE = frozenset((
    "add", "sub", "rsub", "mul", "div", "neg", "relu", "clamp", "clamp_min", "clamp_max", "maximum",
    "minimum", "eq", "ne", "lt", "le", "gt", "ge", "where", "logical_and", "logical_or",
    "logical_not", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_not", "round", "floor",
    "ceil", "trunc", "sign", "threshold", "hardtanh", "leaky_relu", "_prelu_kernel", "masked_fill",
    "square", "reciprocal", "remainder", "floor_divide", "abs", "hardsigmoid", "relu6", "heaviside",
    "isfinite", "isnan", "isinf", "sgn",
))  # fmt: skip
_TWO = frozenset((
    "addcmul", "addcdiv", "lerp", "hardswish",
))  # fmt: skip
_REDUCTIONS = frozenset((
    "sum", "mean", "amax", "amin", "max", "min", "var", "std", "var_mean", "std_mean", "argmax",
    "argmin", "cumsum", "prod", "any", "all", "linalg_vector_norm", "norm", "avg_pool2d",
    "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_max_pool2d", "adaptive_max_pool3d",
    "max_pool2d_with_indices", "max_pool3d_with_indices", "topk", "sort", "col2im",
))  # fmt: skip
_FOUR = frozenset((
    "sigmoid", "exp", "expm1", "tanh", "sqrt", "rsqrt", "log", "log1p", "log2", "log10", "sin",
    "cos", "erf", "gelu", "silu", "mish", "softplus", "elu", "celu", "selu", "pow", "exp2",
    "log_sigmoid_forward", "atan", "atan2",
))  # fmt: skip
_SEVEN = frozenset((
    "_softmax", "_log_softmax", "native_layer_norm", "native_group_norm", "upsample_linear1d",
    "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d", "_upsample_bilinear2d_aa",
    "_upsample_bicubic2d_aa", "_fused_rms_norm", "rms_norm",
))  # fmt: skip
BATCH_NORM = frozenset((
    "native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training", "_batch_norm_no_update", "batch_norm_with_update",
))  # fmt: skip


def elementwise_operations(name: str, inputs: int, outputs: int) -> int | None:
    """Operations of one call; None for an operator that is not understood.

    Args:
        name: the operator's.
        inputs: elements of its first tensor.
        outputs: elements of its first result.
    """
    if name in _REDUCTIONS:
        return inputs
    for names, weight in ((_ONE, 1), (_TWO, 2), (BATCH_NORM, 2), (_FOUR, 4), (_SEVEN, 7)):
        if name in names:
            return weight * outputs
    return 0 if name in _MOVES or name in KEEPING else None
