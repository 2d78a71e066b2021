"""`status`, `peers`, `tree`: what the node sees."""

from __future__ import annotations

from mesh.api import shapes
from mesh.cli.options import COMMON, Common
from mesh.cli.output import table


def status(*, common: Common = COMMON) -> None:
    """Show this node at a glance: health, mesh, epoch, roles, alerts."""
    answer = common.client.status()
    common.output.show(answer, _status_text(answer))


def peers(*, common: Common = COMMON) -> None:
    """List the members of the mesh as this node sees them."""
    answer = common.client.peers()
    rows = [
        (peer.name, peer.party[:8], peer.site, peer.status, peer.cluster, peer.rtt_ms, peer.roles)
        for peer in answer
    ]
    text = table(("NAME", "PARTY", "SITE", "STATUS", "CLUSTER", "RTT ms", "ROLES"), rows)
    common.output.show_all("peers", answer, text)


def tree(*, common: Common = COMMON) -> None:
    """Show clusters, sub-aggregators and committees of the current epoch."""
    answer = common.client.tree()
    common.output.show(answer, _tree_text(answer))


def _status_text(answer: shapes.Status) -> str:
    lines = [
        f"{answer.name} · site {answer.site} · {answer.state}"
        + (f" of mesh {answer.mesh[:8]}" if answer.mesh else "")
        + f" · epoch {answer.epoch}",
        answer.health,
        f"members {answer.members} ({answer.alive} alive) · clusters {answer.clusters} · links {answer.links}"
        f" · data sets {answer.datasets} · jobs running {answer.jobs_running}",
        f"cluster {answer.cluster or '-'} · roles {', '.join(answer.roles) or 'none'}"
        f" · listens on {', '.join(answer.addresses) or 'nothing'}",
    ]
    if answer.join is not None and answer.join.state not in ("none", "granted"):
        lines.append(f"joining: {answer.join.state} · compare the phrase: {answer.join.phrase or '-'}")
    lines += [f"! {alert.code}: {alert.what} · {alert.fix}" for alert in answer.alerts]
    return "\n".join(lines)


def _tree_text(answer: shapes.Tree) -> str:
    head = f"epoch {answer.epoch}"
    if answer.next_rotation_s is not None:
        head += f" · next rotation in {answer.next_rotation_s:.0f} s"
    stages = [*([answer.root] if answer.root else []), *answer.clusters]
    rows = [
        (
            stage.label,
            stage.adder,
            f"({len(stage.committee)}, {stage.threshold})",
            stage.committee,
            stage.members,
        )
        for stage in stages
    ]
    return head + "\n" + table(("STAGE", "ADDER", "(n, t)", "COMMITTEE", "MEMBERS"), rows)
