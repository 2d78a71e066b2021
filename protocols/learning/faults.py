"""What can be wrong with a model, a round or a site's rows, each with its code, in one place.

Messages name columns, counts and sizes, never a value of a row.
"""

from __future__ import annotations

from protocols.errors import ConfigError

MODEL = "C-640"
LINEAGE = "C-641"
ROWS = "C-642"
LABELS = "C-643"
VALUES = "C-644"
PLUGIN = "C-645"
INPUT = "C-646"
BUDGET = "C-647"
EXPORT = "C-648"
RECIPE = "C-649"


def bad_model(what: str) -> ConfigError:
    """A model or its weights do not fit together."""
    return ConfigError(f"the model does not match: {what}", code=MODEL, fix="use weights of this very model")


def bad_recipe(what: str, fix: str = "correct the option") -> ConfigError:
    """A training run was asked for that makes no sense."""
    return ConfigError(what, code=RECIPE, fix=fix)
