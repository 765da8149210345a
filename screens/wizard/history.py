"""Cached lookups for a draft: model sizes, and earlier runs on its data."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from ftwizard.advice import run_history
from ftwizard.plan import schema

if TYPE_CHECKING:
    from ftwizard.advice.run_history import EarlierLoss
    from ftwizard.screens.wizard.drafts import Draft, Fingerprint


def find_earlier_run(draft: Draft) -> EarlierLoss | None:
    """Find an earlier run on the same data that informs more epochs than advised.

    None if the epochs are few or there is no such run. A large file is read once, which takes
    seconds.
    """
    from ftwizard.screens.wizard.drafts import get_fingerprint

    plan = draft.plan
    if plan.recipe.epochs <= schema.MANY_EPOCHS or not plan.data.files.train:
        return None
    file = plan.data.files.train
    return run_history.find_earlier_loss(plan, lambda: _hash_file(file, get_fingerprint(file)))


@functools.lru_cache(maxsize=4)
def _hash_file(file: str, stamp: Fingerprint | None) -> str | None:
    """Hash a file; cached until the file changes."""
    return run_history.hash_rows(file)
