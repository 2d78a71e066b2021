"""The verbs and where each is written; a verb's module loads when the verb runs.

Invariant: importing this module, or any module it names, imports neither libp2p nor numpy.
"""

from __future__ import annotations

from cyclopts import App

_VERBS = {
    "init": "lifecycle:init",
    "up": "lifecycle:up",
    "down": "lifecycle:down",
    "status": "overview:status",
    "peers": "overview:peers",
    "tree": "overview:tree",
    "invite": "joining:invite",
    "join": "joining:join",
    "plan": "jobs:plan",
    "train": "train:train",
    "doctor": "doctor:doctor",
    "explain": "explain:explain",
    "version": "about:version",
    "completion": "about:completion",
    "demo": "about:demo",
}
_GROUPS: dict[str, tuple[str, dict[str, str]]] = {
    "requests": (
        "What waits for your word: joins and jobs.",
        {
            "list": "joining:requests_list",
            "show": "joining:requests_show",
            "accept": "joining:requests_accept",
            "approve": "joining:requests_approve",
            "deny": "joining:requests_deny",
        },
    ),
    "data": (
        "Data sets of this node; their rows never leave it in clear.",
        {
            "add": "data:add",
            "list": "data:list_",
            "show": "data:show",
            "remove": "data:remove",
            "share": "vault:share",
            "shared": "vault:shared",
            "unshare": "vault:unshare",
        },
    ),
    "policy": (
        "What may be computed on a data set, decided by its owner.",
        {"init": "policy:init", "show": "policy:show", "test": "policy:judge"},
    ),
    "jobs": (
        "Compute statistics over the mesh.",
        {
            "submit": "jobs:submit",
            "list": "jobs:list_",
            "watch": "jobs:watch",
            "cancel": "jobs:cancel",
            "logs": "jobs:logs",
            "result": "jobs:result",
        },
    ),
    "models": (
        "Certified models, and files of them.",
        {
            "list": "train:models_list",
            "show": "train:models_show",
            "save": "train:models_save",
            "check": "models:check",
            "run": "models:run",
        },
    ),
    "programs": (
        "Programs that others want to run over data of this node: read them before you allow them.",
        {"list": "programs:list_", "show": "programs:show"},
    ),
    "plugins": (
        "Programs of this site's owner that compute updates; installed here, never sent.",
        {"add": "train:plugins_add", "list": "train:plugins_list", "remove": "train:plugins_remove"},
    ),
    "config": ("Settings of this node.", {"check": "settings:check", "show": "settings:show"}),
}


def build() -> App:
    """The application; cheap, verbs are named and not loaded."""
    app = App(
        name="coppice",
        help="Private computation on a mesh of edge devices: only the agreed result is ever revealed.",
        version_flags=(),
        result_action="return_value",
    )
    for name, target in _VERBS.items():
        app.command(f"mesh.cli.{target}", name=name)
    for group, (help_, verbs) in _GROUPS.items():
        sub = App(name=group, help=help_, version_flags=(), result_action="return_value")
        for name, target in verbs.items():
            sub.command(f"mesh.cli.{target}", name=name)
        app.command(sub)
    return app
