"""A certified model outside the mesh: its numbers, its predictions, and files that other programs read.

JSON needs nothing, NPZ, ONNX and predictions need numpy. Raw columns go in: the scaling of the training is
part of what is written. Every file carries run and session, so that what a model was made from can be looked
up. Importing this module imports no numpy.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mesh.api.shapes import ModelInfo, RoundInfo
from protocols.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mesh.api.client import Client
    from protocols.learning.models import ModelSpec

    Floats = npt.NDArray[np.float64]

FORMATS = (".json", ".npz", ".onnx")


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A model that can be used. Build it from what `Client.model` gives."""

    info: ModelInfo
    raw: bytes = b""
    """Little-endian float64, for a model whose description does not hold its weights."""

    @classmethod
    def fetch(cls, client: Client, name: str) -> TrainedModel:
        """The model of a node, by job or run."""
        info = client.model(name)
        return cls(info, b"" if info.weights else client.weights(name))

    @property
    def weights(self) -> Floats:
        """(d,) float64."""
        import numpy as np

        return np.asarray(np.frombuffer(self._bytes, dtype="<f8").astype(np.float64))

    @property
    def _bytes(self) -> bytes:
        return base64.b64decode(self.info.weights) if self.info.weights else self.raw

    def events(self) -> Iterator[RoundInfo]:
        """The certified rounds that made it, oldest first; known where the run was asked for."""
        yield from self.info.history

    @property
    def layers(self) -> list[tuple[Floats, Floats]]:
        """(W, b) of each layer; a plug-in's model has none that is known here."""
        from protocols.learning import models

        return models.layers(self._spec, self.weights)

    @property
    def coefficients(self) -> dict[str, float]:
        """Of a linear or logistic model with one output: in the columns' own units, and `intercept`.

        Raises ConfigError C-648 for others.
        """
        info = self.info
        if info.hidden or info.outputs != 1 or info.kind == "plugin":
            raise ConfigError("this model has no coefficients", code="C-648", fix="use its weights")
        (matrix, bias), unit = self.layers[0], info.label_scale
        slopes = [float(w) / scale * unit for w, scale in zip(matrix[:, 0], info.scales, strict=True)]
        shift = sum(slope * mean for slope, mean in zip(slopes, info.means, strict=True))
        intercept = float(bias[0]) * unit + info.label_mean - shift
        return {**dict(zip(info.features, slopes, strict=True)), "intercept": intercept}

    def predict(self, columns: Mapping[str, npt.ArrayLike]) -> Floats:
        """(m,) values, (m,) probabilities of class 1, or (m, classes) probabilities, for raw columns.

        Raises ConfigError C-610 for a missing column.
        """
        import numpy as np

        from protocols.learning import models

        missing = [name for name in self.info.features if name not in columns]
        if missing:
            raise ConfigError(f"there is no column {missing[0]!r}", code="C-610", fix="give all features")
        table = np.stack([np.asarray(columns[name], dtype=np.float64) for name in self.info.features], axis=1)
        scaled = (table - np.array(self.info.means)) / np.array(self.info.scales)
        found = models.predict(self._spec, self.weights, scaled)
        if self.info.task == "regression":
            return np.asarray(found * self.info.label_scale + self.info.label_mean)
        return found

    def save(self, path: str | Path) -> None:
        """Write a .json, .npz or .onnx file. Raises ConfigError C-648."""
        path = Path(path)
        if path.suffix not in FORMATS:
            raise ConfigError(
                f"{path.name}: a model is not written as {path.suffix or 'that'}",
                code="C-648",
                fix=f"use {', '.join(FORMATS)}",
            )
        try:
            {".json": self._json, ".npz": self._npz, ".onnx": self._onnx}[path.suffix](path)
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written: {error.strerror}", code="C-648", fix="choose another place"
            ) from None

    @property
    def _spec(self) -> ModelSpec:
        from protocols.learning.models import ModelSpec

        info = self.info
        return ModelSpec(info.kind, info.task, len(info.features), info.outputs, info.hidden, info.activation)

    def _facts(self) -> dict[str, Any]:
        return asdict(replace(self.info, weights=""))

    def _json(self, path: Path) -> None:
        import struct

        raw = self._bytes
        weights = struct.unpack(f"<{len(raw) // 8}d", raw)
        path.write_text(json.dumps({**self._facts(), "weights": weights}, indent=1) + "\n", "utf-8")

    def _npz(self, path: Path) -> None:
        import numpy as np

        arrays: dict[str, Any] = {"weights": self.weights}
        if self.info.kind != "plugin":
            for number, (matrix, bias) in enumerate(self.layers):
                arrays |= {f"W{number}": matrix, f"b{number}": bias}
        facts = np.array(json.dumps(self._facts()))
        np.savez(path, allow_pickle=False, facts=facts, **arrays)

    def _onnx(self, path: Path) -> None:
        if self.info.kind == "plugin":
            raise ConfigError("only its program knows a plug-in's model", code="C-648", fix="use .npz")
        from mesh.api.models_onnx import model

        path.write_bytes(model(self.info, self.layers))


def load(path: Path) -> TrainedModel:
    """A model from a .json file that `save` wrote. Raises ConfigError C-640."""
    import struct

    from mesh.api.jsonshape import decode
    from protocols.errors import LocalMisuse

    try:
        stored = json.loads(path.read_text("utf-8"))
        weights = [float(weight) for weight in stored["weights"]]
        encoded = base64.b64encode(struct.pack(f"<{len(weights)}d", *weights)).decode()
        return TrainedModel(decode(ModelInfo, {**stored, "weights": encoded}))
    except (OSError, ValueError, KeyError, TypeError, LocalMisuse) as error:
        raise ConfigError(
            f"{path}: no model of ours ({type(error).__name__})", code="C-640", fix="name a saved .json model"
        ) from None
