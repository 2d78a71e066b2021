"""Flower's SecAgg+ on the same sizes in the same run, by the driver that runs its real workflow and mod.

Flower stays in an environment of its own; nothing of it is imported here.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocols.errors import ConfigError

SET_UP = (
    "python -m venv FOLDER && FOLDER/bin/pip install flwr==1.41.0, then name FOLDER/bin/python by "
    "--flower-python or $COPPICE_FLOWER_PYTHON"
)
MAX_SHARES = 31
PATIENCE_S = 1800.0


@dataclass(frozen=True, slots=True)
class Flower:
    """Where Flower's interpreter and the driver are."""

    python: Path
    driver: Path

    def run(self, mode: str, devices: int, length: int, drop: float) -> dict[str, Any]:
        """One aggregation; `mode` is "secagg" or "plain". Raises ConfigError if it fails."""
        shares = min(MAX_SHARES, devices - 1 + devices % 2)
        arguments = [mode, str(devices), str(length), str(drop), str(shares), str(shares // 2 + 1)]
        done = subprocess.run(
            [str(self.python), str(self.driver), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
            env={**os.environ, "FLWR_TELEMETRY_ENABLED": "0", "PYTHONPATH": ""},
        )
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode or not lines:
            said = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise ConfigError(f"Flower's driver failed: {' '.join(said)[:200]}", fix=SET_UP)
        figures: dict[str, Any] = json.loads(lines[-1])
        return figures


def find(python: str | None, driver: str | None) -> Flower:
    """From options or the environment. Raises ConfigError saying how to set it up."""
    named = python or os.environ.get("COPPICE_FLOWER_PYTHON")
    if not named or not Path(named).exists():
        raise ConfigError("there is no Python with Flower", fix=SET_UP)
    peers = Path(os.environ.get("COPPICE_PEERS") or Path(__file__).resolve().parents[3] / "shared" / "peers")
    script = Path(driver) if driver else peers / "flower_secaggplus.py"
    if not script.is_file():
        raise ConfigError(
            "the driver flower_secaggplus.py is not there",
            fix="name it by --flower-driver, or its folder by $COPPICE_PEERS",
        )
    return Flower(Path(named), script)


def compare(flower: Flower, ours: dict[str, Any]) -> dict[str, object]:
    """Run Flower, secure and plain, on the sizes of `ours`; its figures and the ratios."""
    size = (ours["devices"], ours["length"], ours["drop"])
    theirs = flower.run("secagg", *size)
    bare = flower.run("plain", *size)
    return {
        "flower_shares": theirs["shares"],
        "flower_threshold": theirs["thr"],
        "flower_client_cpu_s": theirs["client_cpu_s"],
        "flower_server_cpu_s": theirs["server_cpu_s"],
        "flower_upload_over_float32": theirs["up_expansion_vs_f32"],
        "flower_critical_path_over_plain": theirs["crit_path_s"] / bare["crit_path_s"],
        "flower_exact": theirs["ok"],
        "client_over_flower": ours["client_cpu_s"] / theirs["client_cpu_s"],
        "flower_server_over_ours": theirs["server_cpu_s"] / ours["server_cpu_s_total"],
        "upload_over_flower": ours["upload_over_float32"] / theirs["up_expansion_vs_f32"],
    }
