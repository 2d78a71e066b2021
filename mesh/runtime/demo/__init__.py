"""`coppice demo`: a whole mesh on this machine, real rows, two peers killed on the way, answers checked.

What the demo knows in plaintext it knows because it split the file itself; the peers do not.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
from pathlib import Path

from mesh.runtime.demo.report import Report
from mesh.runtime.demo.script import Script
from protocols.errors import ConfigError

MIN_PEERS = 4
MAX_PEERS = 32
HOSPITALS = 4
COLUMNS = ("mean_radius", "mean_texture", "mean_smoothness")


def main(
    *,
    peers: int,
    keep: bool,
    data: Path | None,
    columns: tuple[str, ...],
    seed: int,
    as_json: bool,
    started: float,
) -> int:
    """Run the demo; 0 if every answer agreed with the plaintext. `started`: monotonic. Raises MeshError."""
    if not MIN_PEERS <= peers <= MAX_PEERS:
        raise ConfigError(
            f"--peers {peers}: the demo takes {MIN_PEERS} to {MAX_PEERS}",
            code="C-101",
            fix="three peers and more can compute; with fewer than four none can be killed on the way",
        )
    if data is not None and not columns:
        raise ConfigError("--data without --columns", code="C-101", fix="name them: --columns age,bmi")
    folder = Path(tempfile.mkdtemp(prefix="coppice-demo-"))
    report = Report(as_json, started)
    previous = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    kept = False
    try:
        script = Script(folder, peers, data, columns or COLUMNS, seed, report)
        kept = script.run(keep)
    finally:
        signal.signal(signal.SIGTERM, previous)
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
    return report.finish()
