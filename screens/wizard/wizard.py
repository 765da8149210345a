"""The wizard: from the first question to a running fine-tune. Before the review, only new data
files that the person asks for are written.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from ftwizard.background import run_in_thread
from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.hardware import machine
from ftwizard.pricing import machine_rate
from ftwizard.screens.wizard.drafts import Draft, Step, save

if TYPE_CHECKING:
    from ftwizard.screens.app import FtwizardApp


async def new_run(app: FtwizardApp) -> int:
    """Ask step by step, start the run, and show it."""
    from ftwizard.screens import navigation
    from ftwizard.screens.dialogs.error import ErrorDialog
    from ftwizard.screens.wizard.data.page import DataPage
    from ftwizard.screens.wizard.estimate.page import EstimatePage
    from ftwizard.screens.wizard.provider.page import ProviderPage
    from ftwizard.screens.wizard.provider.unavailable import UnsupportedProviderPage
    from ftwizard.screens.wizard.recipe.page import RecipePage
    from ftwizard.screens.wizard.review import ReviewPage

    pages = (ProviderPage, DataPage, RecipePage, EstimatePage, ReviewPage)
    facts = await run_in_thread(machine.read_machine_info)
    draft = Draft(facts, hour=await run_in_thread(machine_rate.read_saved_price))
    index = 0
    while True:
        step: Step = await app.push_screen_wait(pages[index](draft))
        if pages[index] is DataPage and step.direction > 0 and step.draft.provider != "local":
            elsewhere: Step = await app.push_screen_wait(UnsupportedProviderPage(step.draft))
            if elsewhere.direction == 0:
                return DECLINED
            step = replace(elsewhere, direction=max(elsewhere.direction, 0))
        draft, index = step.draft.with_provider_reason(), index + step.direction
        if index < 0:
            if await _confirm_leaving(app, draft):
                return DECLINED
            index = 0
        if index < len(pages):
            continue
        try:
            file = await asyncio.to_thread(save, draft)
            draft = replace(draft, saved=draft.name)
            run = await navigation.start(
                app, file, draft.name, *machine_rate.price_arguments(draft.hour)
            )
        except FtwizardError as error:  # back to the review, with every answer
            await app.push_screen_wait(ErrorDialog(error))
            index = len(pages) - 1
        else:
            return await navigation.watch(app, run)


async def _confirm_leaving(app: FtwizardApp, draft: Draft) -> bool:
    """Confirm leaving if there are answers to lose."""
    from ftwizard.screens.dialogs.confirm import ConfirmDialog

    if not (draft.plan.data.files.train or draft.plan.model.name):
        return True
    return await app.push_screen_wait(
        ConfirmDialog(
            "Leave the wizard?", "Nothing was started. Your answers will be lost.", "leave", "stay"
        )
    )
