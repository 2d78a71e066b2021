"""What to do instead of operators that committees do not compute. One table, nothing else.

The keys are ONNX operators. Whatever is missing here gets the general advice.
"""

from __future__ import annotations

from collections.abc import Mapping

_LEAKY = "train with Relu, or write it as Relu(x) - a * Relu(-x)"
_SMOOTH = "train with Relu or Tanh, or write it as x * Sigmoid(1.702 * x)"
_SEQUENCE = "use a Conv or an MLP over windows of the sequence"
_CLASSIFIER = (
    "export the scores alone (for scikit-learn: zipmap=False), the class is chosen by --reveal class"
)
_NORMS = "train with BatchNormalization, whose statistics are constants when a model is used"
_SHAPES = "export with fixed shapes (constant folding), so that no shape is computed"

GENERAL = "export the model without it, or rewrite it with the supported operators"

ALTERNATIVES: Mapping[str, str] = {
    "ArgMax": "leave it out and reveal the class: --reveal class",
    "Attention": "use an MLP or a small Conv net: attention needs a product of secrets for each pair",
    "Cast": "export in float32; the class is chosen by --reveal class",
    "CategoryMapper": "encode categories before the model",
    "Ceil": "round before or after the model",
    "Clip": "train with Relu; Clip(x, 0, 6) is Relu(x) - Relu(x - 6)",
    "Concat": "use one wider layer instead of branches",
    "ConstantOfShape": _SHAPES,
    "ConvTranspose": "use Conv",
    "Einsum": "write it with MatMul and Transpose",
    "Elu": _LEAKY,
    "Erf": _SMOOTH,
    "Exp": "use Softmax or Sigmoid, which are computed without overflow",
    "Expand": _SHAPES,
    "Floor": "round before or after the model",
    "GRU": _SEQUENCE,
    "Gather": _SHAPES,
    "Gelu": _SMOOTH,
    "GlobalMaxPool": "use MaxPool with a window as large as the image",
    "GroupNormalization": _NORMS,
    "HardSigmoid": "train with Sigmoid",
    "HardSwish": _SMOOTH,
    "If": "export one branch: what is computed may not depend on secrets",
    "InstanceNormalization": _NORMS,
    "LRN": _NORMS,
    "LSTM": _SEQUENCE,
    "LayerNormalization": _NORMS,
    "LeakyRelu": _LEAKY,
    "LinearClassifier": "export it as Gemm and Softmax",
    "LinearRegressor": "export it as Gemm",
    "Log": "train on logarithms: take them before the model",
    "LogSoftmax": "use Softmax",
    "Loop": "export an unrolled model: what is computed may not depend on secrets",
    "Max": "write max(x, y) as Relu(x - y) + y",
    "Min": "write min(x, y) as x - Relu(x - y)",
    "Normalizer": "normalise rows before the model",
    "OneHotEncoder": "encode categories before the model",
    "PRelu": _LEAKY,
    "Pad": "use the pads of the Conv or pooling behind it",
    "Pow": "write squares as Mul(x, x)",
    "QLinearConv": "export the model before quantisation; numbers have 16 fraction bits here",
    "RNN": _SEQUENCE,
    "ReduceMax": "use MaxPool",
    "ReduceMean": "use GlobalAveragePool or AveragePool",
    "ReduceSum": "write it as MatMul with ones",
    "Resize": "resize images before the model",
    "SVMClassifier": "train a LogisticRegression or an MLP; kernels need every support vector for each row",
    "Scaler": "write it as Sub and Mul with constants",
    "Selu": _LEAKY,
    "Shape": _SHAPES,
    "Slice": "use one layer for each part",
    "Softplus": "train with Relu",
    "Softsign": "train with Tanh",
    "Split": "use one layer for each part",
    "Sqrt": "take roots before the model",
    "Squeeze": "use Reshape",
    "TreeEnsembleClassifier": "train an MLP: trees would compare along every path",
    "TreeEnsembleRegressor": "train an MLP: trees would compare along every path",
    "Unsqueeze": "use Reshape",
    "Upsample": "resize images before the model",
    "Where": "write it with Relu and Mul",
    "ZipMap": _CLASSIFIER,
}


def alternative(kind: str) -> str:
    """What to do instead of an operator."""
    return ALTERNATIVES.get(kind, GENERAL)
