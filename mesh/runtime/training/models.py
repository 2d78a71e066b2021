"""The models of this node as the control API shows them: certified states, and what the requester knows.

A device that took part knows weights and receipts; the node that asked also knows sites, losses and the job's
id, kept beside the state in `RUN.json`.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import asdict
from pathlib import Path

from mesh.api.shapes import ModelInfo, RoundInfo
from mesh.runtime.training.runs import Kept, Runs
from protocols.errors import ConfigError
from protocols.learning.rounds import Round
from protocols.privacy import accountant

MAX_HISTORY = 10_000
INLINE_WEIGHTS = 1 << 16
"""More than these are not put into a JSON answer."""


class Ledger:
    """What this node knows of models, for people."""

    def __init__(self, folder: Path, runs: Runs) -> None:
        self._folder = folder
        self._runs = runs
        self._names: dict[str, str] = {}
        self._r2: dict[str, float] = {}
        self._private: dict[str, tuple[int, float]] = {}

    def name(self, job: str, start: Round) -> None:
        """The run may also be asked for by its job's id."""
        self._names[job] = start.run.hex()

    def private(self, run: str, min_sites: int, delta: float) -> None:
        """What epsilon of a run is reckoned with."""
        self._private[run] = (min_sites, delta)

    def fitted(self, after: Round, r2: float | None) -> None:
        """How good a regression is."""
        if r2 is not None:
            self._r2[after.run.hex()] = r2

    def note(self, after: Round, history: tuple[RoundInfo, ...]) -> None:
        """Keep what happened so far beside the state."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._folder / f"{after.run.hex()}.json"
        new = path.with_suffix(".json.new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"history": [asdict(info) for info in history[-MAX_HISTORY:]]}, file)
        new.replace(path)

    def all(self) -> tuple[ModelInfo, ...]:
        """Every model here, the newest first, without weights."""
        return tuple(self._info(kept, whole=False) for kept in self._runs.all())

    def get(self, name: str) -> ModelInfo:
        """A model by its job, its run or the start of that. Raises ConfigError C-404."""
        return self._info(self._runs.load(self._names.get(name, name)), whole=True)

    def weights(self, name: str) -> bytes:
        """Weights of a model, little-endian float64. Raises ConfigError C-404."""
        return _raw(self._runs.load(self._names.get(name, name)).round)

    def _info(self, kept: Kept, *, whole: bool) -> ModelInfo:
        state = kept.round
        recipe, run = state.recipe, state.run.hex()
        min_sites, delta = self._private.get(run, (2, 1e-5))
        epsilon = None
        if recipe.noise:
            size, clip, bits, weight, noise = recipe.parameters
            release = accountant.Release(int(size), clip, int(bits), int(weight), int(noise), min_sites)
            epsilon = accountant.epsilon((release,) * state.number, delta)
        return ModelInfo(
            run=run,
            kind=recipe.model.kind,
            task=recipe.model.task,
            activation=recipe.model.activation,
            hidden=recipe.model.hidden,
            outputs=recipe.model.outputs,
            features=recipe.features,
            label=recipe.label,
            means=recipe.means,
            scales=recipe.scales,
            label_mean=recipe.label_mean,
            label_scale=recipe.label_scale,
            rounds=state.number,
            session=state.session.hex(),
            receipts=tuple(receipt.hex() for receipt in kept.receipts) if whole else (),
            plugin=recipe.plugin,
            weights=base64.b64encode(_raw(state)).decode() if whole and _is_short(state) else "",
            size=state.weights.size,
            history=self._history(run) if whole else (),
            epsilon=epsilon,
            delta=delta if recipe.noise else None,
            r2=self._r2.get(run),
        )

    def _history(self, run: str) -> tuple[RoundInfo, ...]:
        try:
            stored = json.loads((self._folder / f"{run}.json").read_text("utf-8"))
            return tuple(RoundInfo(**one) for one in stored["history"])
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, KeyError, TypeError):
            raise ConfigError(
                f"the history of {run} is damaged", code="C-640", fix="remove the file"
            ) from None


def _raw(state: Round) -> bytes:
    return state.weights.astype("<f8", copy=False).tobytes()


def _is_short(state: Round) -> bool:
    return state.weights.size <= INLINE_WEIGHTS
