"""A plug-in as an owner might write it: the mean of each feature, weighted by rows."""

from __future__ import annotations

import numpy as np


def local_update(weights: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, int]:
    return rows[:, :-1].mean(axis=0) * np.ones_like(weights), len(rows)
