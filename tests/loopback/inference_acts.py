"""Private inference on a mesh of real processes; prints a JSON object of what was seen.

Run as a program of its own, because a process that forks must have no threads:
    python -m tests.loopback.inference_acts FOLDER
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from mesh.api.local_data import LocalData
from mesh.api.shapes import DataSpec, PolicySpec
from mesh.runtime.demo.local_mesh import LocalMesh
from protocols.errors import MeshError

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "tests" / "models"
MODEL = str(MODELS / "digits_mlp.onnx")
NAMES = ("p1", "p2", "p3", "p4")
COLUMNS = tuple(f"px{at}" for at in range(64))
ON = ("--on", "digits", "--columns", ",".join(COLUMNS))
HELD = 10
"""Images at p2."""


class Acts:
    """p1 has the model, p2 the images; `seen` is what the tests look at."""

    def __init__(self, folder: Path) -> None:
        self.mesh = LocalMesh(folder, NAMES)
        self.seen: dict[str, object] = {}
        images = np.load(MODELS / "digits.npz")["images"][:HELD] / 16.0
        self.file = folder / "digits.csv"
        rows = [",".join(COLUMNS), *(",".join(map(repr, image.tolist())) for image in images)]
        self.file.write_text("\n".join(rows) + "\n")
        self.owner = LocalData(self.mesh.peers["p2"].home)
        self.owner.data_add(DataSpec(str(self.file), "digits"))

    def play(self) -> None:
        """Everything."""
        with self.mesh:
            self.mesh.start()
            self.mesh.wait_formed()
            self.seen["denied"] = denied = self._cli(*ON, "--limit", "5")
            found = re.search(r"--programs ([0-9a-f]{64})", str(denied["err"]))
            digest = found.group(1) if found else ""
            self.seen["read"] = self._verb("p2", "programs", "show", digest[:16])
            self.seen["alerts"] = self._verb("p2", "status")
            self.seen["listed"] = self._verb("p2", "programs", "list")
            self.seen["at a stranger"] = self._verb("p3", "programs", "show", digest)
            policy = PolicySpec(allow=("program",), min_sites=2, programs=(digest,))
            self.owner.policy_init("digits", policy)
            self.seen["plan"] = self._cli(*ON, "--limit", "5", "--dry-run")
            out = self.mesh.folder / "classes.json"
            self.seen["run"] = self._cli(*ON, "--limit", "5", "--timeout", "60", "--out", str(out))
            self.seen["file"] = json.loads(out.read_text()) if out.exists() else None
            self.seen["another"] = self._cli(*ON, "--limit", "4")
            self.seen["open"] = self._cli(*ON)
            self.seen["narrow"] = self._cli("--on", "digits", "--columns", "px0,px1", "--limit", "5")
            self.seen["own"] = self._cli("--rows", str(self.file), "--limit", "3", "--reveal", "output")
            everything = PolicySpec(allow=("program",), min_sites=2, programs=("*",), replace=True)
            self.owner.policy_init("digits", everything)
            self.seen["too many"] = self._cli(*ON, "--limit", str(HELD + 1), "--timeout", "30")

    def _cli(self, *words: str) -> dict[str, object]:
        return self._verb("p1", "models", "run", MODEL, *words)

    def _verb(self, peer: str, *words: str) -> dict[str, object]:
        home = str(self.mesh.peers[peer].home.root)
        command = [sys.executable, "node.py", *words, "--json", "--home", home]
        began = time.monotonic()
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        seconds = round(time.monotonic() - began, 2)
        return {"code": ran.returncode, "out": ran.stdout, "err": ran.stderr[-3000:], "seconds": seconds}


def main() -> None:
    """Play in the folder given."""
    acts = Acts(Path(sys.argv[1]))
    try:
        acts.play()
    except MeshError as error:
        acts.seen["error"] = error.sentence()
    print(json.dumps(acts.seen))


if __name__ == "__main__":
    main()
