"""Open the app on one screen that is otherwise reached only with a model or a long wait.

``python -m tests.e2e.open_screen NAME RUN TEXT [--ascii]``; TEXT may name one of the hostile texts.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec
from textual.screen import Screen

from ftwizard import machine, runs
from ftwizard import plan as plans
from ftwizard.errors import FtwizardError
from ftwizard.screens import flow
from ftwizard.screens.app import FtwizardApp, open_app
from ftwizard.screens.costs import CostsPage
from ftwizard.screens.draft import Draft
from ftwizard.screens.elsewhere import Elsewhere
from ftwizard.screens.estimate import EstimatePage
from ftwizard.screens.finish import Finish
from ftwizard.screens.problem import Problem
from ftwizard.screens.review import ReviewPage
from ftwizard.screens.suggestions import MAX_CHARACTERS
from ftwizard.screens.typed import Typed
from ftwizard.screens.working import Working
from ftwizard.text import visible
from tests.screens import hostile

PART = {"kept": 160, "tokens": 9000, "trained": 4000, "longest": 70, "cut": 0, "lost": []}
ESTIMATE: dict[str, Any] = {
    "model": {"said": "owner/model"},
    "parameters": 135_000_000,
    "trained": 5_000_000,
    "parts": {"train": PART, "validation": PART, "test": PART},
    "steps": 60,
    "steps_per_epoch": 20,
    "evaluate_every": 5,
    "tokens": 27_000,
    "time": None,
    "disk": {"needed": {"value": 10**9}, "free": {"value": 10**10}},
}


def draft(text: str) -> Draft:
    """Return a draft that the wizard's last pages accept, ``text`` in it as model and file."""
    text = text[:MAX_CHARACTERS]  # more the wizard lets nobody type
    plan = plans.Plan(
        data=plans.Data(files=plans.Files(train=f"/data/{text}.jsonl")),
        model=plans.Model(name=text),
    )
    facts = machine.Facts(
        gpus=(),
        no_gpu=text,
        memory=10**9,
        cores=2,
        bfloat16_cpu=False,
        disk_free=10**10,
        credentials=(),
        extras=(),
    )
    estimate = msgspec.json.decode(msgspec.json.encode(ESTIMATE))
    estimate["model"]["said"] = text
    checked = {"usable": 160, "rows": 160, "path": text, "format": "openai-chat", "findings": []}
    return Draft(facts, plan, estimate=estimate, checked=checked, path="cloud")


def screen(name: str, run: str, text: str) -> Screen[Any]:
    """Make the screen; ``text`` stands for whatever is foreign on it."""
    if name == "working":
        return Working(f"Reading {visible(text, 50)}", "watch", run)
    if name == "finish":
        return Finish(runs.find(run))
    if name == "problem":
        return Problem(FtwizardError(f"It cannot be read: {text}.", f"Look at {text}."))
    if name == "typed":
        return Typed("Many epochs.", "You can confirm that you want more.", "many epochs")
    if name == "costs":
        return CostsPage(draft(text))
    page = {"estimate": EstimatePage, "review": ReviewPage, "elsewhere": Elsewhere}[name]
    return page(draft(text))


async def _route(app: FtwizardApp, name: str) -> int:
    run, text = sys.argv[2:4]
    await app.push_screen_wait(screen(name, run, hostile.TEXTS.get(text, text)))
    return 0


if __name__ == "__main__":
    flow.ROUTES["screen"] = _route
    sys.exit(open_app(("screen", sys.argv[1]), ascii="--ascii" in sys.argv))
