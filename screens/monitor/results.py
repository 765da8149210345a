"""Results page: verdict, scores, single answers, files and next commands of a run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import ClassVar

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from ftwizard.jobs.ending import describe_end_reason
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import observe
from ftwizard.runs import describe, merge_proof, verdict
from ftwizard.runs.evaluation import Evaluation
from ftwizard.runs.evaluation_files import read_evaluation
from ftwizard.runs.result import (
    AnswerPair,
    BaseComparison,
    RunResult,
    read_answers,
    read_result,
    read_verdict,
)
from ftwizard.runs.serving import ADDRESS, find_serve_command
from ftwizard.screens import layout, palette
from ftwizard.screens.dialogs.command_progress import run_command
from ftwizard.screens.dialogs.dialog import NoticeDialog
from ftwizard.screens.monitor import evaluated
from ftwizard.screens.page import Page
from ftwizard.screens.terminal import clipboard
from ftwizard.screens.widgets.scroll_pane import ScrollPane
from ftwizard.text import format_count, make_lines_visible, make_visible

KEY = f"bold {palette.ACCENT}"
ANSWERS_PER_PAGE = 3
"""Answers shown at once on a tall screen."""
FOLDED_WIDTH = 60
"""Cells of a command in a dialog."""
MAX_CHARACTERS = 400
"""Characters of a text shown at first, so that base and tuned fit on one screen."""
MARGIN = 5
"""Cells of a line beside the text: padding and scroll bar."""


class ResultsPage(Page[str]):
    """Shows the results of a run; dismisses with ``monitor`` to return to the monitor, or None."""

    NAME = "Results"
    NOTES = (
        "The examples were not trained on.",
        "✗ broken: the base model was right; ✓ fixed: the tuned is.",
        "near: training rows with words of prompt and tuned answer.",
        "All answers: eval/ in the run folder.",
        "merged/: the full tuned model, 16 bit. adapter/: LoRA only.",
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,n", "turn(1)", "next answer", key_display="→", tooltip="next answer"),
        Binding("left,p", "turn(-1)", "previous", key_display="←", tooltip="previous answer"),
        Binding("a", "toggle_full", "full answers", tooltip="answers in full"),
        Binding("c", "chat", "chat", tooltip="chat with the tuned and the base model"),
        Binding(
            "y", "copy_command", "copy serve", tooltip="copy the command that serves the model"
        ),
        Binding("x", "make", "make", tooltip="make what is missing of the model"),
        Binding("m", "monitor", "monitor", tooltip="back to the monitor"),
        Binding("escape,enter,q", "back", "done", key_display="enter", tooltip="done"),
    ]

    def __init__(self, folder: JobFolder) -> None:
        super().__init__()
        self._folder = folder
        self._result = read_result(folder)
        self._evaluation = read_evaluation(folder)
        changed = evaluated.list_changed(self._evaluation) if self._evaluation else []
        self._answers: Sequence[evaluated.ChangedAnswer | AnswerPair] = changed or read_answers(
            folder
        )
        """Answers that changed; all answers if none did, or if the run was not evaluated."""
        self._serve = find_serve_command(folder)
        self._index = 0
        self._limit: int | None = MAX_CHARACTERS
        """Characters of each text, None for all."""

    def top_line(self) -> Text:
        line = Text.assemble((" ftwizard ", "bold reverse"), "  ", no_wrap=True)
        line.append(make_visible(self._folder.id), "bold")
        reason = observe(self._folder).end_reason or "lost"
        end = f"  {describe.MARKS.get(reason, '✗')} {describe_end_reason(reason)}"
        return line.append(end, palette.GOOD)

    def body(self) -> ComposeResult:
        with ScrollPane(id="finish"):
            if self._evaluation:
                yield from self._compose_evaluation(self._evaluation)
            else:
                yield Static(format_verdict(self._folder, self._result), id="outcome", markup=False)
                compared = self._result.compare if self._result else None
                yield Static(format_scores(compared), id="scores", markup=False)
            yield Static(self._build_next(), id="next", markup=False)
            yield Static(id="answer", markup=False)
            yield Static(self._build_files(), id="files", markup=False)

    def _compose_evaluation(self, evaluation: Evaluation) -> ComposeResult:
        yield Static(evaluated.build_verdict(evaluation), id="ship-verdict", markup=False)
        yield Static(id="scores", markup=False)
        if evaluation.failures:
            yield Static(id="failures", markup=False)
        if evaluation.actions:
            actions = evaluated.build_actions(evaluation, self._folder.id)
            yield Static(actions, id="actions", markup=False)

    def on_mount(self) -> None:
        self.query_one("#finish").focus()
        self._show()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        needs: dict[str, object] = {
            "turn": self._answers, "toggle_full": self._has_long_answers, "chat": self._has_model,
            "copy_command": self._serve, "make": self._missing,
        }  # fmt: skip
        return bool(needs.get(action, True))

    @property
    def _has_model(self) -> bool:
        return self._folder.adapter.is_dir() or self._folder.merged.is_dir()

    @property
    def _missing(self) -> list[evaluated.MissingForm]:
        """What is missing of an evaluated run's model."""
        return evaluated.list_missing(self._folder) if self._evaluation else []

    @property
    def _has_long_answers(self) -> bool:
        return any(
            len(text.strip()) > MAX_CHARACTERS
            for answer in self._answers
            for text in _list_texts(answer)
        )

    def action_chat(self) -> None:
        from ftwizard.screens.chat.page import ChatPage

        self.app.push_screen(ChatPage(self._folder))

    def action_copy_command(self) -> None:
        """Copy the serve command, which also works over SSH and in tmux, and show it."""
        if self._serve:
            in_tmux = clipboard.copy(self.app, self._serve.line)
            where = (
                "In tmux, prefix ] pastes it." if in_tmux else "Some terminals do not allow that."
            )
            title = Text(f"Copied. {where} Or select it here:", "bold")
            command = make_lines_visible(self._serve.fold(FOLDED_WIDTH))
            note = f"It then answers at {ADDRESS}, until ctrl+c."
            self.app.push_screen(NoticeDialog(title, f"{command}\n\n{note}"))

    @work(exclusive=True, exit_on_error=False)
    async def action_make(self) -> None:
        """Run the command that makes what is missing first; esc cancels it."""
        form = self._missing[0]
        title = f"{form.purpose[:1].upper()}{form.purpose[1:]}"
        await run_command(self.app, title, form.command, str(self._folder.path), *form.options)
        self._result = read_result(self._folder)
        self._serve = find_serve_command(self._folder)
        self.query_one("#next", Static).update(self._build_next())
        self.query_one("#files", Static).update(self._build_files())
        self.refresh_bindings()

    def action_turn(self, by: int) -> None:
        pane, part = self.query_one("#finish"), self.query_one("#answer")
        is_at_top = part.region.y <= pane.region.y + 1
        if self._evaluation and part.region.bottom > pane.region.bottom and not is_at_top:
            # Below the first screen: it is shown before the next one is.
            part.scroll_visible(animate=False, top=True)
            return
        page = self._page_length
        last = (len(self._answers) - 1) // page * page
        index = self._index // page * page + by * page
        self._index = 0 if index > last else last if index < 0 else index
        self._show()
        if self._evaluation:
            self.call_after_refresh(part.scroll_visible, animate=False, top=True)

    @property
    def _page_length(self) -> int:
        return ANSWERS_PER_PAGE if self.has_class("-tall") else 1

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    def action_toggle_full(self) -> None:
        self._limit = None if self._limit else MAX_CHARACTERS
        self._show()

    def action_monitor(self) -> None:
        self.dismiss("monitor")

    def _show(self) -> None:
        if self._evaluation:
            self._show_evaluation(self._evaluation)
        part = self.query_one("#answer", Static)
        part.display = bool(self._answers)
        total = len(self._answers)
        parts: list[RenderableType] = []
        for index in range(self._index, min(self._index + self._page_length, total)):
            parts += ["", self._build_answer(self._answers[index], index)]
        part.update(Group(*parts[1:]))

    def _build_answer(
        self, answer: evaluated.ChangedAnswer | AnswerPair, index: int
    ) -> RenderableType:
        total = len(self._answers)
        if isinstance(answer, AnswerPair):
            return build_answer(answer, index, total, self._limit)
        return evaluated.build_changed_answer(
            answer, index, total, lambda text: _truncate(text, self._limit),
            is_wide=self.has_class("-wide"),
        )  # fmt: skip

    def _show_evaluation(self, evaluation: Evaluation) -> None:
        """Show the parts that depend on the size of the screen."""
        width, is_tall = self.size.width - MARGIN, self.has_class("-tall")
        scores = evaluated.format_scores(evaluation, width, with_loss=is_tall)
        self.query_one("#scores", Static).update(scores)
        for failures in self.query("#failures").results(Static):
            failures.update(evaluated.build_failures(evaluation, in_full=is_tall))

    def _build_next(self) -> Table:
        rows: list[tuple[Text | str, Text | str]] = []
        if self._has_model:
            rows.append((Text("c", KEY), "chat: type a prompt, both models answer it"))
        for form in self._missing[:1]:
            command = form.format_command(self._folder.id)
            rows.append((Text("x", KEY), f"{form.purpose}: {command}"))
        if self._serve:
            rows.append((Text("y", KEY), f"serve: {make_visible(self._serve.line)}"))
        return layout.build_table(rows)

    def _build_files(self) -> Table:
        folder = self._folder
        result = self._result
        merged = folder.merged.is_dir() and result and result.merged
        rows: list[tuple[str, str]] = []
        if merged:
            rows.append(("merged", make_visible(str(folder.merged))))
            if proof := merge_proof.read_proof(folder.merged):
                rows.append(("proof", merge_proof.format_verdict(proof)))
        if folder.adapter.is_dir():
            rows.append(("adapter", make_visible(str(folder.adapter))))
        if self._evaluation:
            rows += evaluated.list_forms(folder)
        if folder.answers.exists():
            rows.append(("answers", make_visible(str(folder.answers))))
        rows.append(("plan", make_visible(str(folder.plan))))
        rows.append(("again", _format_command("ftwizard", "train", str(folder.plan))))
        if result and (trained := describe.describe_trained_rows(result.training)):
            # On a small terminal, warnings come first; good news can wait below the commands.
            index = len(rows) if describe.are_all_trained(result.training) else 0
            rows.insert(index, ("rows", trained))
        if result and (measured := result.prediction):
            rows += describe.describe_prediction(measured, result.training.completed_share)
        return layout.build_table(rows)


def format_scores(compared: BaseComparison | None) -> Text:
    """Return the scores of base and tuned model side by side, with a mark for the change."""
    if not compared or not compared.rows:
        return Text("No comparison: it was not requested, or there is no test set.", "dim")
    text = Text.assemble(
        (f"{format_count(compared.rows, 'test example'):<28}", "bold"),
        ("    base     tuned", "dim"),
    )
    for score in describe.list_scores(compared):
        before, after = (describe.format_score(score, v) for v in (score.base, score.tuned))
        mark, style = _SCORE_MARKS[score.is_better]
        text.append(f"\n  {score.name:<26}{before:>8}  {after:>8}  ")
        text.append("" if score.key == "length_ratio" else mark, style)
    return text


_SCORE_MARKS: dict[bool | None, tuple[str, str]] = {
    True: ("✓", palette.GOOD), False: ("!", palette.WARNING), None: ("=", "dim"),
}  # fmt: skip
_VERDICT_STYLES = {"helped": palette.GOOD, "worse": palette.BAD, "no_change": palette.WARNING}


def format_verdict(folder: JobFolder, result: RunResult | None) -> Text:
    """Return one sentence: whether the tuned model of a run without an evaluation is better."""
    if folder.evaluation.exists():
        damage = f"The evaluation cannot be read: {make_visible(str(folder.evaluation))}."
        hint = f"Evaluate again: ftwizard eval {make_visible(folder.id)}"
        return Text.assemble(("? ", palette.WARNING), (f"{damage} {hint}", "bold"))
    judged = read_verdict(folder, result)
    mark = verdict.MARKS[judged.outcome] if judged else "?"
    style = _VERDICT_STYLES.get(judged.outcome, "") if judged else ""
    return Text.assemble((f"{mark} ", style), (verdict.describe(judged), f"bold {style}"))


def build_answer(
    answer: AnswerPair, index: int, count: int, limit: int | None = MAX_CHARACTERS
) -> Group:
    """Return a test example with both answers; ``limit`` is the characters of a text, None for all."""
    title = Text.assemble(
        (f"answer {index + 1} of {count}", "bold"), (f"  row {answer.line}", "dim"), "  ",
        _rate_answer(answer),
    )  # fmt: skip
    return Group(
        title,
        layout.build_table([
            ("prompt", _truncate(answer.question, limit)),
            ("expected", _truncate(answer.expected, limit)),
            ("base", _truncate(answer.base, limit)),
            ("tuned", Text(_truncate(answer.tuned, limit), "bold")),
        ]),
    )  # fmt: skip


def _rate_answer(answer: AnswerPair) -> Text:
    """Return whether the tuned answer is right; for free text how near it and the base's are."""
    base, tuned = answer.base_scores, answer.tuned_scores
    if base and tuned and base.chrf is not None and tuned.chrf is not None:
        return Text(f"chrF {base.chrf:.0f} → {tuned.chrf:.0f}", "dim")
    if answer.tuned.strip() == answer.expected.strip():
        return Text("✓ exact match", palette.GOOD)
    if tuned and tuned.match:
        return Text("✓ right", palette.GOOD)
    return Text("· differs from expected", "dim")


def _list_texts(answer: evaluated.ChangedAnswer | AnswerPair) -> Sequence[str]:
    if isinstance(answer, AnswerPair):
        return answer.question, answer.expected, answer.base, answer.tuned
    flip = answer.flip
    return flip.prompt, flip.expected, flip.base, flip.tuned


def _format_command(*argv: str) -> str:
    return make_visible(shlex.join(argv), 1000)


def _truncate(text: str, limit: int | None) -> str:
    text = text.strip()
    cut = limit is not None and len(text) > limit
    return make_lines_visible(text[:limit] if cut else text) + ("…" if cut else "")
