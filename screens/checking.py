"""A check of data beside the page that shows it: a first look soon, then the whole."""

from __future__ import annotations

import re

from rich.text import Text

from ftwizard import words
from ftwizard.data import hub_id
from ftwizard.data.format_names import NAMES, Format
from ftwizard.data.target_names import TargetName
from ftwizard.errors import FtwizardError
from ftwizard.plan import Plan
from ftwizard.screens import palette, readings
from ftwizard.screens.children import Child
from ftwizard.screens.draft import Draft, Stamp, shown_path, stamp
from ftwizard.text import duration, visible

QUICK_S = 0.3
"""What takes less is not announced."""
BAR_CELLS = 30


class Check(Child):
    """``ftwizard check`` on the rows of a draft."""

    def __init__(self, draft: Draft, path: str) -> None:
        super().__init__("check", *checked(draft, path))
        self._on_hub = hub_id.parse(path) is not None
        self._path = path
        self._seen = stamp(path)

    def stamp_of(self, file: str) -> Stamp | None:
        """Return what tells the file from a changed one: as it was before it was read, or, of a
        data set on the Hub, the file that was made of it."""
        return stamp(file) if self._on_hub else self._seen

    @property
    def is_quick(self) -> bool:
        """Whether it has not taken long enough to be announced."""
        return self.first_look is None and self.spent_s < QUICK_S

    def said(self, width: int) -> Text:
        """Return what it does and how far it is, on a line, with a bar where there is room."""
        doing = words.doing(self.progress) if self.progress.phase else "starting"
        if self.first_look is not None:
            doing = f"the whole file: {doing}" if self.progress.phase else "reading the whole file"
        else:
            name = visible(shown_path(self._path), 50)
            doing = f"{'Fetching' if self._on_hub else 'Reading'} {name}: {doing}"
        line = Text.assemble(("● ", palette.ACCENT), f"{doing}  {duration(self.spent_s)}")
        line.truncate(max(1, width), overflow="ellipsis")
        share = readings.share(self.progress)
        if share is not None and line.cell_len + 8 + BAR_CELLS <= width:
            line.append(f"  {share:4.0%} ").append_text(readings.bar(share, BAR_CELLS))
        return line


def arguments(plan: Plan, path: str) -> list[str]:
    """Return what is told to every command that reads the rows of a plan: file and format."""
    format = plan.data.format
    return [path] if format == "auto" else [path, "--format", format]


def judged(plan: Plan, target: TargetName | None, path: str) -> list[str]:
    """Return what is told to commands that say what is wrong with rows: also for whom."""
    return [*arguments(plan, path), *(("--target", target) if target else ())]


def checked(draft: Draft, path: str) -> list[str]:
    """Return what is told to a check: also which file validates, and how long rows may be."""
    own = draft.plan.data.files.validation
    argv = [
        *judged(draft.plan, draft.target, path),
        "--max-length",
        str(draft.plan.recipe.max_length),
    ]
    return [*argv, "--val", own] if own else argv


def judged_otherwise(draft: Draft) -> bool:
    """Say whether rows that were checked are now meant for another place, or cut elsewhere."""
    if draft.checked is None:
        return False
    tokens, now = draft.checked.get("tokens") or {}, draft.plan.recipe.max_length
    longest, then = tokens.get("max"), tokens.get("limit")
    cut = bool(longest and then and then != now and min(then, now) < longest)
    return cut or draft.checked_for != draft.target


def formats_meant(error: FtwizardError) -> list[Format]:
    """Return the formats to choose from where an error says that several fit; else none."""
    named = set(re.findall(r"--format ([a-z-]+)", error.hint))
    return [name for name in NAMES if name in named]
