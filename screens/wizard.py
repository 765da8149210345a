"""The wizard: from a question to a running fine-tune. Nothing is written before the review."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ftwizard import machine, settings
from ftwizard import plan as plans
from ftwizard.catalog import PathId
from ftwizard.errors import DECLINED, FAILED, FtwizardError
from ftwizard.jobs.folder import write_whole
from ftwizard.machine import Facts
from ftwizard.plan import InsistName, Plan

if TYPE_CHECKING:
    from ftwizard.screens.app import FtwizardApp


def _empty() -> Plan:
    files = plans.Files(train="")
    return Plan(data=plans.Data(files=files), model=plans.Model(name=""))


@dataclass(frozen=True)
class Draft:
    """Everything that was answered so far; each page returns a changed one."""

    machine: Facts
    plan: Plan = field(default_factory=_empty)
    answers: dict[str, str] = field(default_factory=dict)
    """Of the path page, by question."""
    path: PathId | None = None
    """None while the recommendation is followed."""
    touched: frozenset[str] = frozenset()
    """Settings of the recipe that the person has chosen."""
    checked: dict[str, Any] | None = None
    """What ``ftwizard check`` said of the training file."""
    estimate: dict[str, Any] | None = None
    """What ``ftwizard estimate`` said of the plan."""
    name: str = ""
    """Of the run."""

    def with_plan(self, **parts: Any) -> Draft:
        """Return a draft whose plan has other parts; an estimate of the old plan is dropped."""
        changed = msgspec.structs.replace(self.plan, **parts)
        return self if changed == self.plan else replace(self, plan=changed, estimate=None)

    def with_recipe(self, **settings: Any) -> Draft:
        return self.with_plan(recipe=msgspec.structs.replace(self.plan.recipe, **settings))

    def with_data(self, **parts: Any) -> Draft:
        return self.with_plan(data=msgspec.structs.replace(self.plan.data, **parts))

    def answering(self, answers: dict[str, str]) -> Draft:
        return replace(self, answers=answers)

    def on_path(self, path: PathId) -> Draft:
        return replace(self, path=path)

    def reading(self, files: plans.Files, checked: dict[str, Any] | None) -> Draft:
        """Return a draft with other data, and what a check said of it."""
        return replace(self.with_data(files=files), checked=checked)

    def called(self, name: str) -> Draft:
        return replace(self, name=name)

    def touching(self, name: str) -> Draft:
        """Return a draft that knows of a setting which the person has chosen."""
        return replace(self, touched=self.touched | {name})

    def insisting(self, name: InsistName, on: bool = True) -> Draft:
        """Return a draft that overrules a warning, or no longer does."""
        if on == (name in self.plan.insist):
            return self
        others = tuple(one for one in self.plan.insist if one != name)
        return self.with_plan(insist=(*others, name) if on else others)


@dataclass(frozen=True)
class Step:
    """How a page was left."""

    draft: Draft
    by: int
    """1: next, -1: back, 0: the wizard ends here."""


async def new_run(app: FtwizardApp) -> int:
    """Ask step by step, start the run that comes of it, and show it."""
    from ftwizard.screens import flow
    from ftwizard.screens.data import DataPage
    from ftwizard.screens.elsewhere import Elsewhere
    from ftwizard.screens.estimate import EstimatePage
    from ftwizard.screens.path import PathPage
    from ftwizard.screens.recipe import RecipePage
    from ftwizard.screens.review import ReviewPage

    pages = (PathPage, DataPage, RecipePage, EstimatePage, ReviewPage)
    draft = Draft(await asyncio.to_thread(machine.facts))
    place = 0
    while place < len(pages):
        left: Step = await app.push_screen_wait(pages[place](draft))
        if pages[place] is DataPage and left.by > 0 and left.draft.path not in (None, "local"):
            elsewhere: Step = await app.push_screen_wait(Elsewhere(left.draft))
            left = replace(elsewhere, by=max(elsewhere.by, 0))
            if elsewhere.by == 0:
                return DECLINED
        draft, place = left.draft, place + left.by
        if place < 0:
            return DECLINED
    run = await flow.start(app, _save(draft), draft.name)
    return await flow.watch(app, run) if run else FAILED


def _save(draft: Draft) -> str:
    """Write the plan down; return its file. Raises FtwizardError when it cannot be written."""
    file = plan_file(draft.name)
    settings.private_folder(file.parent)
    try:
        write_whole(file, plans.dump(draft.plan).encode())
    except OSError as error:
        raise FtwizardError(f"The plan cannot be written to {file}: {error.strerror}.") from error
    return str(file)


def plan_file(name: str) -> Path:
    """Return where the wizard keeps the plan of a run."""
    return settings.home() / "plans" / f"{name}.yaml"
