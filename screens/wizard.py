"""The wizard: from a question to a running fine-tune. But for files of rows that are asked for,
nothing is written before the review."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from ftwizard import hour_price, machine
from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.screens.beside import beside
from ftwizard.screens.draft import Draft, Step, save

if TYPE_CHECKING:
    from ftwizard.screens.app import FtwizardApp


async def new_run(app: FtwizardApp) -> int:
    """Ask step by step, start the run that comes of it, and show it."""
    from ftwizard.screens import flow
    from ftwizard.screens.data import DataPage
    from ftwizard.screens.elsewhere import Elsewhere
    from ftwizard.screens.estimate import EstimatePage
    from ftwizard.screens.path import PathPage
    from ftwizard.screens.problem import Problem
    from ftwizard.screens.recipe import RecipePage
    from ftwizard.screens.review import ReviewPage

    pages = (PathPage, DataPage, RecipePage, EstimatePage, ReviewPage)
    facts = await beside(machine.facts)
    draft = Draft(facts, hour=await beside(hour_price.remembered))
    place = 0
    while True:
        left: Step = await app.push_screen_wait(pages[place](draft))
        if pages[place] is DataPage and left.by > 0 and left.draft.way != "local":
            elsewhere: Step = await app.push_screen_wait(Elsewhere(left.draft))
            if elsewhere.by == 0:
                return DECLINED
            left = replace(elsewhere, by=max(elsewhere.by, 0))
        draft, place = left.draft.for_the_record(), place + left.by
        if place < 0:
            if await _really_left(app, draft):
                return DECLINED
            place = 0
        if place < len(pages):
            continue
        try:
            file = await asyncio.to_thread(save, draft)
            draft = replace(draft, saved=draft.name)
            run = await flow.start(app, file, draft.name, *hour_price.argv(draft.hour))
        except FtwizardError as error:  # back to the review, with every answer
            await app.push_screen_wait(Problem(error))
            place = len(pages) - 1
        else:
            return await flow.watch(app, run)


async def _really_left(app: FtwizardApp, draft: Draft) -> bool:
    """Ask where there are answers to lose."""
    from ftwizard.screens.ask import Ask

    if not (draft.plan.data.files.train or draft.plan.model.name):
        return True
    return await app.push_screen_wait(
        Ask("Leave the wizard?", "Nothing was started; your answers are dropped.", "leave", "stay")
    )
