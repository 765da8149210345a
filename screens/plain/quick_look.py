"""The time limit in plain mode: the minutes, what they give up, and whether to use that."""

from __future__ import annotations

import functools

from ftwizard.advice import time_cap
from ftwizard.screens.draft import time_limit
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.plain.prompts import Prompter


def switch(prompter: Prompter, draft: Draft) -> Draft:
    """Ask for a limit, or undo the draft's."""
    if draft.limit is not None:
        return time_limit.undo(draft)
    prompter.explain(time_limit.EXPLANATION)
    cap = prompter.ask_value(
        "Minutes",
        f"{time_cap.DEFAULT_MINUTES:g}",
        parse=functools.partial(time_limit.find_fit, draft),
    )
    for line in time_cap.describe_losses(cap):
        prompter.print(f"· {line}", hang=2)
    prompter.print(time_cap.describe_outcome(cap))
    options = [("use", "yes"), ("keep", "no, keep mine")]
    chosen = prompter.choose("Use these settings?", options)
    return time_limit.apply(draft, cap) if chosen == "use" else draft
