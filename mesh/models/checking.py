"""A model file judged: findings with alternatives, or the program it becomes and what a run costs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from mesh.models import onnx_reader
from protocols.circuits.cost import LAN, WAN, cost
from protocols.circuits.lower import lower
from protocols.circuits.network import Compiled, compiled
from protocols.circuits.passes import optimised
from protocols.engine.committee import Committee, whole
from protocols.errors import ConfigError, LocalMisuse


def checked(
    file: Path, *, batch: int | None, low: float, high: float, reveal: str, committee: str, mode: str
) -> dict[str, Any]:
    """What `models check` answers. Raises ConfigError C-660, C-661 and, for wrong options, C-101."""
    if batch is not None and batch < 1:
        raise ConfigError(f"--batch {batch}: no number of samples", code="C-101", fix="for example --batch 1")
    if not low < high:
        raise ConfigError(
            f"--low {low:g} --high {high:g}: no range", code="C-101", fix="for example --low 0 --high 1"
        )
    members = _committee(committee, mode)
    report = onnx_reader.read(file, batch=batch)
    findings = list(report.findings)
    answer: dict[str, Any] = {
        "file": report.file,
        "operators": report.operators,
        "parameters": report.parameters,
        "committee": [members.n, members.t],
    }
    if report.network is not None:
        try:
            made = compiled(report.network, low=low, high=high, reveal=reveal)
            return answer | {"supported": True, "findings": []} | _costed(made, members)
        except LocalMisuse as error:
            advice = error.fix or "export the model again"
            findings.append(onnx_reader.Finding("model", "", error.args[0], advice))
    return answer | {"supported": False, "findings": [asdict(finding) for finding in findings]}


def _committee(text: str, mode: str) -> Committee:
    try:
        n, t = (int(part) for part in text.split(","))
        return whole(n, t, mode)
    except (ValueError, LocalMisuse) as error:
        raise ConfigError(
            f"--committee {text} --mode {mode}: {error.args[0] if isinstance(error, LocalMisuse) else 'n,t'}",
            code="C-101",
            fix="for example --committee 7,2 --mode P",
        ) from None


def _costed(made: Compiled, committee: Committee) -> dict[str, Any]:
    graph = optimised(made.graph)
    found = cost(lower(graph, committee), committee)
    sample = graph.nodes[graph.inputs[made.sample]].shape
    return {
        "sample": list(sample),
        "program": graph.digest().hex(),
        "rounds": found.rounds,
        "sent_bytes": found.busiest_bytes,
        "preprocessing_bytes": found.preprocessing_bytes,
        "memory_bytes": found.memory_bytes,
        "seconds_lan": round(found.seconds(LAN), 4),
        "seconds_wan": round(found.seconds(WAN), 4),
        "explained": found.explain(),
    }
