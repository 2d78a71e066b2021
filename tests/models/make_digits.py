"""Makes the model files of this folder: an MLP and a small convolutional net on 8 x 8 digits.

    python tests/models/make_digits.py         (needs scikit-learn and onnx; the files are checked in)

The MLP is scikit-learn's; the convolutional net is trained here with numpy alone. `digits.npz` holds the test
images, their labels and the class that each plaintext model gives them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent
SEED = 7


def digits() -> tuple[np.ndarray, ...]:
    """Training and test images (rows, 64) in [0, 1] with labels."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    return train_test_split(x / 16.0, y, test_size=360, random_state=SEED)


def mlp(x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Weights of 64-32-10."""
    from sklearn.neural_network import MLPClassifier

    found = MLPClassifier((32,), max_iter=400, random_state=SEED, alpha=1e-3).fit(x, y)
    (w1, w2), (b1, b2) = found.coefs_, found.intercepts_
    return {"w1": w1, "b1": b1, "w2": w2, "b2": b2}


def windows(x: np.ndarray) -> np.ndarray:
    """3 x 3 windows with padding 1: (N, C, H, W) -> (N, H, W, C * 9)."""
    n, c, h, w = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    seen = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return seen.transpose(0, 2, 3, 1, 4, 5).reshape(n, h, w, c * 9)


def halves(x: np.ndarray) -> np.ndarray:
    """(N, C, H, W) -> (N, C, H/2, W/2, 4)."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h // 2, w // 2, 4)


class ConvNet:
    """conv 1-6, relu, max pool, conv 6-12, batch normalisation (fixed), relu, max pool, linear to 10."""

    def __init__(self) -> None:
        rng = np.random.default_rng(SEED)
        self.p = {
            "k1": rng.normal(0, 0.4, (9, 6)), "c1": np.zeros(6),
            "k2": rng.normal(0, 0.2, (54, 12)), "c2": np.zeros(12),
            "w": rng.normal(0, 0.15, (48, 10)), "b": np.zeros(10),
        }  # fmt: skip

    def forward(self, x: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Scores, and what the backward pass needs."""
        k: dict[str, np.ndarray] = {"i1": windows(x.reshape(-1, 1, 8, 8))}
        k["a1"] = (k["i1"] @ self.p["k1"] + self.p["c1"]).transpose(0, 3, 1, 2)
        k["h1"] = halves(np.maximum(k["a1"], 0))
        k["i2"] = windows(k["h1"].max(-1))
        k["a2"] = (k["i2"] @ self.p["k2"] + self.p["c2"]).transpose(0, 3, 1, 2)
        k["h2"] = halves(np.maximum(k["a2"], 0))
        k["f"] = k["h2"].max(-1).reshape(len(x), -1)
        return k["f"] @ self.p["w"] + self.p["b"], k

    def gradients(self, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
        """Of the mean cross entropy."""
        scores, k = self.forward(x)
        e = np.exp(scores - scores.max(1, keepdims=True))
        d = e / e.sum(1, keepdims=True)
        d[np.arange(len(y)), y] -= 1
        d /= len(y)
        g = {"w": k["f"].T @ d, "b": d.sum(0)}
        d2 = self._back((d @ self.p["w"].T).reshape(k["h2"].shape[:4]), k["h2"], k["a2"])
        g["k2"] = k["i2"].reshape(-1, 54).T @ d2.reshape(-1, 12)
        g["c2"] = d2.sum((0, 1, 2))
        di = (d2 @ self.p["k2"].T).reshape(len(x), 4, 4, 6, 3, 3)
        d1 = np.zeros((len(x), 6, 6, 6))
        for i in range(3):
            for j in range(3):
                d1[:, :, i : i + 4, j : j + 4] += di[..., i, j].transpose(0, 3, 1, 2)
        d1 = self._back(d1[:, :, 1:5, 1:5], k["h1"], k["a1"])
        g["k1"] = k["i1"].reshape(-1, 9).T @ d1.reshape(-1, 6)
        g["c1"] = d1.sum((0, 1, 2))
        return g

    @staticmethod
    def _back(d: np.ndarray, pooled: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Through max pool and relu: (N, H, W, C)."""
        n, c, h, w = before.shape
        chosen = pooled == pooled.max(-1, keepdims=True)
        spread = chosen / chosen.sum(-1, keepdims=True) * d[..., None]
        full = spread.reshape(n, c, h // 2, w // 2, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(n, c, h, w)
        return (full * (before > 0)).transpose(0, 2, 3, 1)

    def train(self, x: np.ndarray, y: np.ndarray, epochs: int = 40) -> ConvNet:
        """Adam, batches of 64."""
        rng = np.random.default_rng(SEED)
        m = {k: np.zeros_like(v) for k, v in self.p.items()}
        v = {k: np.zeros_like(v) for k, v in self.p.items()}
        step = 0
        for _ in range(epochs):
            order = rng.permutation(len(x))
            for at in range(0, len(x), 64):
                rows = order[at : at + 64]
                step += 1
                for k, g in self.gradients(x[rows], y[rows]).items():
                    m[k], v[k] = 0.9 * m[k] + 0.1 * g, 0.999 * v[k] + 0.001 * g * g
                    rate = 0.004 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
                    self.p[k] = self.p[k] - rate * m[k] / (np.sqrt(v[k]) + 1e-8)
        return self


def save(name: str, nodes: list, weights: dict[str, np.ndarray], shape: list) -> None:
    """One ONNX file with input `x` and output `scores`."""
    from onnx import TensorProto, checker, helper, numpy_helper

    made = helper.make_graph(
        nodes, name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [shape[0], 10])],
        [numpy_helper.from_array(np.asarray(w, dtype=np.float32 if w.dtype.kind == "f" else np.int64), k)
         for k, w in weights.items()],
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    (FOLDER / f"{name}.onnx").write_bytes(model.SerializeToString())


def main() -> None:
    """Train both, write files and what the plaintext models say."""
    from onnx.helper import make_node as node

    x, x_test, y, y_test = digits()
    w = mlp(x, y)
    hidden = np.maximum(x_test @ w["w1"] + w["b1"], 0)
    mlp_class = (hidden @ w["w2"] + w["b2"]).argmax(1)
    save("digits_mlp", [
        node("Gemm", ["x", "w1", "b1"], ["h"]), node("Relu", ["h"], ["r"]),
        node("MatMul", ["r", "w2"], ["s"]), node("Add", ["s", "b2"], ["t"]),
        node("Softmax", ["t"], ["scores"], axis=1),
    ], w, ["batch", 64])  # fmt: skip
    net = ConvNet().train(x, y)
    conv_class = net.forward(x_test)[0].argmax(1)
    scale = np.linspace(
        0.5, 2.0, 12
    )  # a normalisation that undoes what the second kernel was multiplied with
    p = net.p
    weights = {
        "k1": p["k1"].T.reshape(6, 1, 3, 3), "c1": p["c1"],
        "k2": (p["k2"] / scale).T.reshape(12, 6, 3, 3), "c2": p["c2"] / scale,
        "gamma": scale, "beta": np.zeros(12), "mean": np.zeros(12), "var": np.ones(12) - 1e-5,
        "w": p["w"], "b": p["b"], "image": np.array([0, 1, 8, 8]),
    }  # fmt: skip
    same = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    save("digits_conv", [
        node("Reshape", ["x", "image"], ["i"]),
        node("Conv", ["i", "k1", "c1"], ["a"], **same), node("Relu", ["a"], ["ar"]),
        node("MaxPool", ["ar"], ["ap"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", ["ap", "k2", "c2"], ["c"], **same),
        node("BatchNormalization", ["c", "gamma", "beta", "mean", "var"], ["n"]),
        node("Relu", ["n"], ["nr"]), node("MaxPool", ["nr"], ["np"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", ["np"], ["f"]), node("Dropout", ["f"], ["d"]),
        node("Gemm", ["d", "w", "b"], ["scores"]),
    ], weights, ["batch", 64])  # fmt: skip
    images = np.rint(x_test * 16).astype(np.uint8)
    np.savez_compressed(FOLDER / "digits.npz", images=images, labels=y_test.astype(np.uint8),
                        mlp=mlp_class.astype(np.uint8), conv=conv_class.astype(np.uint8))  # fmt: skip
    print(f"mlp {(mlp_class == y_test).mean():.4f} conv {(conv_class == y_test).mean():.4f} of {len(y_test)}")


if __name__ == "__main__":
    main()
