"""The draft that the wizard begins with: data files or a plan named on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ftwizard.advice.recipe_rules import settings
from ftwizard.catalog.prices import PriceRate
from ftwizard.hardware.machine import MachineInfo
from ftwizard.plan import plan_file, schema
from ftwizard.screens.draft.drafts import OWN_FILE, Draft

PLAN_SUFFIXES = (".yaml", ".yml")


def begin(names: Sequence[str], machine: MachineInfo, hour: PriceRate | None) -> Draft:
    """Return a draft with a data file, with a second one for validation, or with a plan.

    Every setting of a plan counts as chosen, so that no advice replaces it. Raises FtwizardError for
    a plan that cannot be read.
    """
    draft = Draft(machine, hour=hour)
    if not names:
        return draft
    if names[0].lower().endswith(PLAN_SUFFIXES):
        plan = plan_file.load(Path(names[0]), deferred=("no-validation", "many-epochs"))
        named = frozenset(setting.key for setting in settings())
        draft = Draft(machine, plan=plan, hour=hour, touched=named)
        if plan.provider == "local":
            return draft
        draft = draft.with_provider("openai" if plan.provider == "openai" else "cloud")
        return draft if plan.provider == "openai" else draft.with_platform(plan.provider)
    train, validation = names[0], names[1] if len(names) > 1 else None
    draft = draft.with_data(files=schema.Files(train=train, validation=validation))
    return draft.with_validation(OWN_FILE) if validation else draft
