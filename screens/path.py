"""Path: where the fine-tuning happens; a few questions, a recommendation, and its reasons."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import ClassVar, cast

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Static

from ftwizard.advice import path as advice
from ftwizard.advice import questions
from ftwizard.advice.path import Recommendation
from ftwizard.advice.questions import FIT, Question
from ftwizard.catalog import PathId, catalog
from ftwizard.screens import palette
from ftwizard.screens.ask import Ask
from ftwizard.screens.draft import Draft, Step
from ftwizard.screens.page import WizardPage
from ftwizard.screens.widgets.choice import Choice

UNANSWERED = ""
NOT_SAID = "not said"


class PathPage(WizardPage[Step]):
    """Dismisses with a draft that knows the path."""

    STEP = 0
    HELP = (
        "Three ways lead to a fine-tuned model: training on a machine of yours, a provider's API, "
        "or a cloud service. What this machine can answer is not asked. Each answer changes the "
        "recommendation below at once; you may choose another path, and see what that costs.\n\n"
        "Up and down move between the questions, left and right change an answer. Page up and "
        "page down read on below."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pagedown", "read(1)", "read on", show=False),
        Binding("pageup", "read(-1)", "read back", show=False),
    ]

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self._draft = draft
        self._asked = _asked(draft)

    def body(self) -> ComposeResult:
        seen = dict(questions.seen(self._draft.machine))
        here = f"This machine: GPU {seen['GPU']}; {seen['memory']} memory, {seen['processors']}; "
        yield Static(f"{here}{seen['free disk']} free", classes="note one-line", markup=False)
        for question in self._asked:
            with Horizontal(classes="question"):
                yield Static(question.text, classes="name", markup=False)
                given = self._draft.answers.get(question.id, question.assumed or UNANSWERED)
                yield Choice(_options(question), given, id=f"answer-{question.id}")
        with Horizontal(classes="question", id="paths"):
            yield Static("Path", classes="name", markup=False)
            names = [(one.id, one.name) for one in catalog().paths]
            yield Choice(names, self._draft.path or "local", id="path")
        with VerticalScroll(id="advice", can_focus=False):
            yield Static(id="words", markup=False)

    def on_mount(self) -> None:
        self._recommend()
        self.query(Choice).first().focus()

    def on_choice_changed(self, event: Choice.Changed) -> None:
        if event.choice.id == "path":
            self._draft = self._draft.on_path(cast(PathId, event.value))
        self._recommend()

    def action_read(self, by: int) -> None:
        pane = self.query_one("#advice")
        pane.scroll_relative(y=by * max(1, pane.size.height - 1), animate=False)

    def action_back(self) -> None:
        self.dismiss(Step(self._answered(), -1))

    @work(group="next", exclusive=True, exit_on_error=False)
    async def action_next(self) -> None:
        draft = self._answered()
        found = self._recommendation(draft)
        if found.wrong_tool and not await self.app.push_screen_wait(
            Ask("Fine-tune for facts that change?", found.fit or "", "go on all the same", "back")
        ):
            return
        path = draft.path or found.path
        self.dismiss(Step(draft.on_path(path), 1))

    def _answered(self) -> Draft:
        given: dict[str, str] = {
            question.id: value
            for question in self._asked
            if (value := self.query_one(f"#answer-{question.id}", Choice).value) != UNANSWERED
        }
        return self._draft.answering(given)

    def _recommendation(self, draft: Draft) -> Recommendation:
        return advice.recommend(draft.machine, draft.answers, datetime.date.today())

    def _recommend(self) -> None:
        draft = self._answered()
        found = self._recommendation(draft)
        chooser = self.query_one("#path", Choice)
        if draft.path is None:
            with self.prevent(Choice.Changed):
                chooser.value = found.path
        self.query_one("#words", Static).update(words(found, cast(PathId, chooser.value)))
        self.query_one("#advice").scroll_home(animate=False)


def _asked(draft: Draft) -> tuple[Question, ...]:
    """Return what is asked: all that neither the machine nor the wizard knows."""
    return (FIT, *(one for one in questions.questions(draft.machine) if one.id != FIT.id))


def _options(question: Question) -> list[tuple[str, str]]:
    said = [(one.id, one.label) for one in question.options]
    return said if question.assumed else [(UNANSWERED, NOT_SAID), *said]


def words(found: Recommendation, path: PathId) -> Text:
    """Return the recommendation with its reasons, and the chosen path's six factors."""
    known, text = catalog(), Text()
    name = known.path(found.path).name
    if found.platform:
        name += f", {known.platform(found.platform).name}"
    if found.fit:
        mark, style = ("✗", palette.BAD) if found.wrong_tool else ("✓", palette.GOOD)
        text.append(f"{mark} ", style).append(f"{found.fit}\n")
    text.append("→ ", palette.ACCENT).append(name, "bold").append(" is recommended.\n")
    _list(text, "+", found.reasons)
    _list(text, "-", found.cautions)
    if found.close_to:
        _list(text, "~", [f"{known.path(found.close_to).name} is about as good here."])
    if path != found.path:
        text.append(f"\nChoosing {known.path(path).name} instead\n", "bold")
        _list(text, "·", [found.costs_of[path]])
    if path != found.path and not known.path(path).available:
        text.append("! ", f"bold {palette.WARNING}").append(f"{known.path(path).unavailable}\n")
    text.append(f"\n{known.path(path).name}\n", "bold")
    for factor, label in known.factors.items():
        platform = found.platform if path == "cloud" else None
        claim = known.path(path).claims(factor, platform)[0]
        text.append(f"  {label:<20}", "dim").append(f"{claim.words}\n")
    if found.flips:
        text.append("\nWhat would change the recommendation\n", "bold")
        _list(text, "·", found.flips)
    return text


def _list(text: Text, mark: str, lines: Iterable[str]) -> None:
    for line in lines:
        text.append(f"  {mark} ", "dim").append(f"{line}\n")
