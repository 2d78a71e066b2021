"""`train logistic|linear|mlp|plugin`, `models list|show|save`, `plugins add|list|remove`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from mesh.api import shapes
from mesh.cli.jobs import follow
from mesh.cli.options import COMMON, Common
from mesh.cli.output import table
from protocols.errors import ConfigError

if TYPE_CHECKING:
    from mesh.api.models import TrainedModel
    from mesh.data.plugins import Plugins


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Model:
    """What function is trained."""

    hidden: Annotated[str, Parameter(help="Widths of an mlp's one or two hidden layers.")] = "16"
    activation: Annotated[str, Parameter(help="relu or tanh.")] = "tanh"
    task: Annotated[str, Parameter(help="Of an mlp or plugin: or regression.")] = "classification"
    classes: int = 2
    seed: int = 0
    plugin: Annotated[str, Parameter(help="Name of the plug-in that owners installed.")] = ""
    weights: Annotated[int, Parameter(help="Weights of the plug-in's model.")] = 0
    resume: Annotated[str, Parameter(help="Go on from this certified model.")] = ""


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Steps:
    """How it is trained."""

    rounds: Annotated[int, Parameter(help="Secure sums, one a round.")] = 20
    method: Annotated[
        str | None, Parameter(help="gradient, local (epochs at each site) or, for linear, exact.")
    ] = None
    lr: Annotated[float | None, Parameter(help="Rate of the step that a round makes.")] = None
    momentum: float | None = None
    penalty: Annotated[float, Parameter(help="L2 penalty (ridge).")] = 0.0
    local_epochs: Annotated[int | None, Parameter(help="Given: method local.")] = None
    local_lr: float | None = None
    batch: Annotated[int, Parameter(help="Rows of a local step; 0: all.")] = 0
    clip: Annotated[float | None, Parameter(help="Largest value of an update; or L2 length.")] = None
    scale: Annotated[bool, Parameter(help="Standardise by secure means and variances first.")] = True
    evaluate: Annotated[bool, Parameter(help="Loss and accuracy of each round, as secure sums.")] = True
    patience: Annotated[int, Parameter(help="Stop after so many rounds without a lower loss.")] = 0
    ranking: Annotated[int, Parameter(help="Bins of the precision-recall curve at the end; 0: none.")] = 0
    max_rows: Annotated[int | None, Parameter(help="Most rows of one site.")] = None


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Privacy:
    """Differential privacy of the run."""

    dp_epsilon: Annotated[float | None, Parameter(help="Budget of the run; noise is set by it.")] = None
    dp_delta: float = 1e-5
    dp_unit: Annotated[str, Parameter(help="What is protected: row or site.")] = "row"


def train(
    kind: Annotated[str, Parameter(help="logistic, linear, mlp or plugin.")],
    dataset: str,
    *,
    x: Annotated[str, Parameter(help="Feature columns, with commas.")],
    y: Annotated[str, Parameter(help="Label column; classes are numbered from 0.")],
    model: Model = Model(),
    steps: Steps = Steps(),
    privacy: Privacy = Privacy(),
    min_sites: Annotated[int | None, Parameter(help="Fewest sites in a round.")] = None,
    timeout: Annotated[float | None, Parameter(help="Seconds for one round.")] = None,
    purpose: Annotated[str, Parameter(help="Told to every owner who is asked.")] = "",
    out: Annotated[Path | None, Parameter(help="File: .json, .npz, .onnx. Implies --watch.")] = None,
    watch: Annotated[bool, Parameter(help="Follow the run to its end.", negative="")] = False,
    common: Common = COMMON,
) -> int:
    """Train a model over the rows of all sites; only weighted means of updates are ever revealed."""
    of_model, how = asdict(model), asdict(steps)
    widths, local_epochs = _widths(of_model.pop("hidden")), how.pop("local_epochs")
    spec = shapes.TrainSpec(
        dataset=dataset, kind=kind, features=_names(x), label=y, hidden=widths,
        method=how.pop("method") or _method(kind, local_epochs, privacy), rate=how.pop("lr"),
        local_rate=how.pop("local_lr"), local_epochs=local_epochs or 1, standardise=how.pop("scale"),
        min_sites=min_sites, timeout_s=timeout, purpose=purpose, **of_model, **how, **asdict(privacy),
    )  # fmt: skip
    if out is not None:
        _check_suffix(out)
    job = common.client.train(spec)
    if not watch and out is None:
        common.output.show(shapes.JobAccepted(job), f"{job} · follow it: coppice jobs watch {job}")
        return 0
    common.output.say(f"▸ {job} · {kind} of {dataset}.{y}")
    code = follow(common, job, None)
    if code == 0 and out is not None:
        _trained(common, job).save(out)
        common.output.say(f"✓ {out}")
    return code


def models_list(*, common: Common = COMMON) -> None:
    """List the certified models on this node, of runs that it asked for or took part in."""
    answer = common.client.models()
    rows = [(m.run[:12], m.kind, m.label, m.rounds, len(m.features), m.epsilon) for m in answer]
    heads = ("RUN", "KIND", "LABEL", "ROUNDS", "FEATURES", "EPSILON")
    common.output.show_all("models", answer, table(heads, rows))


def models_show(model: str, *, common: Common = COMMON) -> None:
    """Show a model: what it was trained on and how each round went."""
    answer = common.client.model(model)
    rows = [(r.number, r.sites, r.n, r.loss, r.accuracy, r.seconds, r.receipt[:16]) for r in answer.history]
    head = f"{answer.run} · {answer.kind} for {answer.label} · {answer.rounds} rounds"
    if answer.epsilon is not None:
        head += f" · epsilon {answer.epsilon:.3g} at delta {answer.delta:g}"
    heads = ("ROUND", "SITES", "ROWS", "LOSS", "ACCURACY", "SECONDS", "RECEIPT")
    common.output.show(answer, head + "\n" + table(heads, rows))


def models_save(model: str, file: Path, *, common: Common = COMMON) -> None:
    """Write a model to a .json, .npz or .onnx file."""
    _check_suffix(file)
    trained = _trained(common, model)
    trained.save(file)
    common.output.show({"model": trained.info.run, "file": str(file)}, f"✓ {file}")


def plugins_add(
    name: str,
    target: Annotated[str, Parameter(help="MODULE:FUNCTION, importable by this node's Python.")],
    *,
    common: Common = COMMON,
) -> None:
    """Install a program of your own that computes this site's updates: local_update(weights, rows)."""
    _plugins(common).add(name, target)
    common.output.show(shapes.PluginInfo(name, target), f"✓ {name} = {target}")


def plugins_list(*, common: Common = COMMON) -> None:
    """List the plug-ins of this site."""
    found = [shapes.PluginInfo(name, target) for name, target in sorted(_plugins(common).all().items())]
    common.output.show_all("plugins", found, table(("NAME", "FUNCTION"), [(p.name, p.target) for p in found]))


def plugins_remove(name: str, *, common: Common = COMMON) -> None:
    """Remove a plug-in."""
    _plugins(common).remove(name)
    common.output.show(shapes.Done(), f"✓ {name} removed")


def _plugins(common: Common) -> Plugins:
    from mesh.data.plugins import Plugins

    common.folder.require()
    return Plugins(common.folder.root)


def _trained(common: Common, name: str) -> TrainedModel:
    from mesh.api.models import TrainedModel

    return TrainedModel.fetch(common.client, name)


def _check_suffix(path: Path) -> None:
    from mesh.api.models import FORMATS

    if path.suffix not in FORMATS:
        raise ConfigError(
            f"{path}: a model is not written as that", code="C-648", fix=f"end it in {', '.join(FORMATS)}"
        )


def _method(kind: str, local_epochs: int | None, privacy: Privacy) -> str:
    if local_epochs:
        return "local"
    return "exact" if kind == "linear" and privacy.dp_epsilon is None else "gradient"


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise ConfigError(
            f"--hidden {text}: no widths", code="C-101", fix="for example --hidden 16,8"
        ) from None
