"""What a draft is compared with: models by their configuration, and earlier runs on its rows."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from ftwizard import earlier, model_config
from ftwizard import plan as plans
from ftwizard.errors import FtwizardError

if TYPE_CHECKING:
    from ftwizard.earlier import Earlier
    from ftwizard.screens.draft import Draft, Stamp


@functools.lru_cache(maxsize=32)
def size(name: str) -> int | None:
    """Return the parameters of a model by its configuration; None where that is not known."""
    try:
        shape = model_config.shape(name) if name else None
    except FtwizardError:
        return None
    return shape.parameters if shape else None


def before(draft: Draft) -> Earlier | None:
    """Return what an earlier run on the same rows says of more epochs than are advised (SPEC H6).

    None where they are few, or there is no such run. A large file is read once, which takes
    seconds.
    """
    from ftwizard.screens.draft import stamp

    plan = draft.plan
    if plan.recipe.epochs <= plans.MANY_EPOCHS or not plan.data.files.train:
        return None
    file = plan.data.files.train
    return earlier.loss_of(plan, lambda: _hash(file, stamp(file)))


@functools.lru_cache(maxsize=4)
def _hash(file: str, stamp: Stamp | None) -> str | None:
    """Return the hash of a file, remembered until the file changes."""
    return earlier.hash_of(file)
