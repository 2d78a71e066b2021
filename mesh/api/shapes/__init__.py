"""What the control API says and hears: frozen dataclasses, one per JSON object.

The contract between the node (mesh/runtime) and its clients: numbers, text and nested shapes only, no
object of the protocol rooms, so that neither side drags in the other's imports. Modules load on first
use, because making these classes would cost a short command more than its work.

Invariant: `decode(type(x), encode(x)) == x` (jsonshape.py). A new optional field keeps SCHEMA_VERSION;
a field that changes its meaning, or goes, raises it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mesh.api.shapes.data import (
        DatasetInfo as DatasetInfo,
    )
    from mesh.api.shapes.data import (
        DataSpec as DataSpec,
    )
    from mesh.api.shapes.data import (
        JobFile as JobFile,
    )
    from mesh.api.shapes.data import (
        PolicyInfo as PolicyInfo,
    )
    from mesh.api.shapes.data import (
        PolicySpec as PolicySpec,
    )
    from mesh.api.shapes.data import (
        Verdict as Verdict,
    )
    from mesh.api.shapes.inference import (
        InferenceSpec as InferenceSpec,
    )
    from mesh.api.shapes.jobs import (
        AnswerInfo as AnswerInfo,
    )
    from mesh.api.shapes.jobs import (
        CommitteeFacts as CommitteeFacts,
    )
    from mesh.api.shapes.jobs import (
        ErrorInfo as ErrorInfo,
    )
    from mesh.api.shapes.jobs import (
        JobAccepted as JobAccepted,
    )
    from mesh.api.shapes.jobs import (
        JobEvent as JobEvent,
    )
    from mesh.api.shapes.jobs import (
        JobInfo as JobInfo,
    )
    from mesh.api.shapes.jobs import (
        JobResult as JobResult,
    )
    from mesh.api.shapes.jobs import (
        JobSpec as JobSpec,
    )
    from mesh.api.shapes.jobs import (
        PlanReport as PlanReport,
    )
    from mesh.api.shapes.jobs import (
        QuerySpec as QuerySpec,
    )
    from mesh.api.shapes.jobs import (
        RoleCost as RoleCost,
    )
    from mesh.api.shapes.jobs import (
        Value as Value,
    )
    from mesh.api.shapes.joining import (
        AnswerSpec as AnswerSpec,
    )
    from mesh.api.shapes.joining import (
        Invitation as Invitation,
    )
    from mesh.api.shapes.joining import (
        InviteSpec as InviteSpec,
    )
    from mesh.api.shapes.joining import (
        JoinSpec as JoinSpec,
    )
    from mesh.api.shapes.joining import (
        RequestInfo as RequestInfo,
    )
    from mesh.api.shapes.node import (
        Alert as Alert,
    )
    from mesh.api.shapes.node import (
        ClusterInfo as ClusterInfo,
    )
    from mesh.api.shapes.node import (
        Done as Done,
    )
    from mesh.api.shapes.node import (
        JoinStatus as JoinStatus,
    )
    from mesh.api.shapes.node import (
        Metrics as Metrics,
    )
    from mesh.api.shapes.node import (
        PeerInfo as PeerInfo,
    )
    from mesh.api.shapes.node import (
        Status as Status,
    )
    from mesh.api.shapes.node import (
        Tree as Tree,
    )
    from mesh.api.shapes.programs import (
        ProgramAsked as ProgramAsked,
    )
    from mesh.api.shapes.programs import (
        ProgramCost as ProgramCost,
    )
    from mesh.api.shapes.programs import (
        ProgramInfo as ProgramInfo,
    )
    from mesh.api.shapes.programs import (
        ProgramInput as ProgramInput,
    )
    from mesh.api.shapes.programs import (
        ProgramOperation as ProgramOperation,
    )
    from mesh.api.shapes.programs import (
        ProgramOutput as ProgramOutput,
    )
    from mesh.api.shapes.training import (
        ModelInfo as ModelInfo,
    )
    from mesh.api.shapes.training import (
        PluginInfo as PluginInfo,
    )
    from mesh.api.shapes.training import (
        RoundInfo as RoundInfo,
    )
    from mesh.api.shapes.training import (
        TrainSpec as TrainSpec,
    )
    from mesh.api.shapes.vault import (
        BinsSpec as BinsSpec,
    )
    from mesh.api.shapes.vault import (
        HolderInfo as HolderInfo,
    )
    from mesh.api.shapes.vault import (
        ShareSpec as ShareSpec,
    )
    from mesh.api.shapes.vault import (
        VaultInfo as VaultInfo,
    )

SCHEMA_VERSION = 1

_MODULE_OF = {
    "Alert": "node",
    "JoinStatus": "node",
    "Status": "node",
    "PeerInfo": "node",
    "ClusterInfo": "node",
    "Tree": "node",
    "Metrics": "node",
    "Done": "node",
    "InviteSpec": "joining",
    "Invitation": "joining",
    "JoinSpec": "joining",
    "RequestInfo": "joining",
    "AnswerSpec": "joining",
    "DataSpec": "data",
    "DatasetInfo": "data",
    "PolicySpec": "data",
    "PolicyInfo": "data",
    "JobFile": "data",
    "Verdict": "data",
    "InferenceSpec": "inference",
    "QuerySpec": "jobs",
    "JobSpec": "jobs",
    "CommitteeFacts": "jobs",
    "PlanReport": "jobs",
    "RoleCost": "jobs",
    "Value": "jobs",
    "ErrorInfo": "jobs",
    "AnswerInfo": "jobs",
    "JobResult": "jobs",
    "JobInfo": "jobs",
    "JobEvent": "jobs",
    "JobAccepted": "jobs",
    "ProgramAsked": "programs",
    "ProgramCost": "programs",
    "ProgramInfo": "programs",
    "ProgramInput": "programs",
    "ProgramOperation": "programs",
    "ProgramOutput": "programs",
    "ModelInfo": "training",
    "PluginInfo": "training",
    "RoundInfo": "training",
    "TrainSpec": "training",
    "BinsSpec": "vault",
    "HolderInfo": "vault",
    "ShareSpec": "vault",
    "VaultInfo": "vault",
}


def __getattr__(name: str) -> Any:
    """Load a shape's module on first use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"mesh.api.shapes has no {name}")
    return getattr(importlib.import_module(f"mesh.api.shapes.{_MODULE_OF[name]}"), name)
