"""Results page: verdict, scores, single answers, files and next commands of a run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import ClassVar

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from ftwizard.errors import FtwizardError
from ftwizard.jobs.ending import GOOD_END_REASONS, describe_end_reason
from ftwizard.jobs.events import EventReader
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import observe
from ftwizard.plan import plan_file
from ftwizard.runs import (
    blind_pairs,
    describe,
    hosted,
    merge_proof,
    next_steps,
    remote,
    reproduction,
    verdict,
)
from ftwizard.runs.describe_evaluation import PLACEHOLDERS
from ftwizard.runs.evaluation import Evaluation
from ftwizard.runs.evaluation_files import find_evaluation_job, find_newest
from ftwizard.runs.next_steps import SuggestedStep
from ftwizard.runs.progress import Progress
from ftwizard.runs.result import read_result
from ftwizard.runs.serving import ADDRESS, find_serve_command
from ftwizard.runs.store import RunStatus
from ftwizard.screens import layout, palette
from ftwizard.screens.dialogs.dialog import NoticeDialog, show_error
from ftwizard.screens.dialogs.script import write_script
from ftwizard.screens.draft.suggestions import suggest_folder
from ftwizard.screens.monitor import evaluated, finishing, further
from ftwizard.screens.monitor.evaluated import KEY
from ftwizard.screens.monitor.page import RUN_PREFIX
from ftwizard.screens.page import Page
from ftwizard.screens.terminal import clipboard
from ftwizard.screens.widgets.scroll_pane import ScrollPane
from ftwizard.text import make_lines_visible, make_visible

PARTS = ("outcome", "next", "scores", "actions", "failures", "answer", "files")
"""Ids of the parts of the page, from the top."""
POLL_EVERY_S = 1.0
STEP_ACTIONS = (
    "next", "change", "run", "export", "push", "serve", "further", "script", "by_hand",
)  # fmt: skip
"""Actions that run a command, one at a time."""
ANSWERS_PER_PAGE = 3
"""Answers shown at once on a tall screen."""
FOLDED_WIDTH = 60
"""Cells of a command in a dialog."""
MAX_CHARACTERS = 400
"""Characters of a text shown at first, so that base and tuned fit on one screen."""
EMPTY = "(empty)"
"""Shown for an answer without text, which is no fault of the page."""
MARGIN = 5
"""Cells of a line beside the text: padding and scroll bar."""


class ResultsPage(Page[str]):
    """Shows the results of a run, and takes the next steps with its model.

    Dismisses with ``monitor`` to return to the monitor, with ``run:`` and the id of a run that it
    started, or with None.
    """

    NAME = "Results"
    NOTES = (
        "The examples were not trained on.",
        "✗ broken: the base model was right; ✓ fixed: the tuned is.",
        "near: training rows with words of prompt and tuned answer.",
        "All answers: eval/ in the run folder.",
        "merged/: the full tuned model, 16 bit. adapter/: LoRA only.",
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,n", "turn(1)", "answers", key_display="→", tooltip="next answer"),
        Binding("left,p", "turn(-1)", "previous", show=False, tooltip="previous answer"),
        Binding("a", "toggle_full", "full answers", tooltip="answers in full"),
        Binding("c", "chat", "chat", tooltip="chat with the tuned and the base model"),
        Binding("h", "by_hand", "by hand", tooltip="judge answers of both models yourself"),
        Binding("x", "export", "export", tooltip="export the merged model; asks to which form"),
        Binding("s", "serve", "serve", tooltip="serve the model on this machine"),
        Binding("e", "run('eval')", "evaluate", show=False, tooltip="evaluate it again"),
        Binding("g", "run('merge')", "merge", show=False, tooltip="merge and prove it"),
        Binding(
            "v", "run('verify')", "verify", show=False, tooltip="verify all forms of the model"
        ),
        Binding("w", "run('card')", "card", show=False, tooltip="write the model card"),
        Binding(
            "t",
            "further",
            "train further",
            show=False,
            tooltip="train it further, on pairs or with rewards",
        ),
        Binding("i", "script", "script", show=False, tooltip="write it as a plain TRL script"),
        Binding("u", "push", "upload", show=False, tooltip="upload it to the Hub, privately"),
        Binding("y", "copy_command", "copy serve", show=False, tooltip="copy the serve command"),
        *(
            Binding(key, f"change({index})", "change", show=False, tooltip="make that change")
            for index, key in enumerate(evaluated.CHANGE_KEYS)
        ),
        Binding("m", "monitor", "monitor", tooltip="back to the monitor"),
        Binding("enter", "next", "next", key_display="enter", tooltip="the next best step"),
        Binding("escape,q", "back", "leave", key_display="esc", tooltip="leave the results"),
    ]

    def __init__(self, folder: JobFolder) -> None:
        super().__init__()
        self._folder = folder
        self._answers: Sequence[evaluated.ShownAnswer] = []
        self._failure: FtwizardError | None = None
        """Why the newest step failed."""
        self._followed: EventReader | None = None
        """Events of an evaluation that is running now."""
        self._progress = Progress()
        self._read_folder()
        compared = reproduction.compare(folder)
        self._reproduced = list(reproduction.describe(compared)) if compared else []
        """How this run compares with the one that it reproduces."""
        self._index = 0
        self._limit: int | None = MAX_CHARACTERS
        """Characters of each text, None for all."""

    def _read_folder(self) -> None:
        """Read what the run's folder has now."""
        folder = self._folder
        self._result, self._hosted = read_result(folder), hosted.read_hosted(folder)
        newest = find_newest(folder)
        self._evaluation = newest.evaluation if newest else None
        self._newest = newest
        self._has_pairs = newest is not None and blind_pairs.read(newest.folder).can_decide
        self._next = next_steps.find_next(folder)
        changes = next_steps.list_changes(self._evaluation) if self._evaluation else []
        self._changes = [step for _, step in changes]
        self._serve = find_serve_command(folder)
        self._answers = evaluated.list_answers(self._evaluation) if self._evaluation else []
        self._judging = find_evaluation_job(folder)
        if self._is_judging and self._judging and self._followed is None:
            self._followed, self._progress = EventReader(self._judging[0].events), Progress()

    @property
    def _is_judging(self) -> bool:
        """Whether an evaluation of this run is running now."""
        return self._judging is not None and self._judging[1].state != "ended"

    def top_line(self) -> Text:
        line = Text.assemble((" ftwizard ", "bold reverse"), "  ", no_wrap=True)
        line.append(make_visible(self._folder.id), "bold")
        reason = observe(self._folder, asks_slurm=False).end_reason or "lost"
        end = f"  {describe.MARKS.get(reason, '✗')} {describe_end_reason(reason)}"
        return line.append(end, palette.GOOD if reason in GOOD_END_REASONS else palette.WARNING)

    def body(self) -> ComposeResult:
        with ScrollPane(id="finish"):
            for part in PARTS:
                yield Static(id=part, markup=False)

    def on_mount(self) -> None:
        self.query_one("#finish").focus()
        self.set_interval(POLL_EVERY_S, self._poll)
        self._show()

    def _poll(self) -> None:
        """Follow an evaluation that is running; read the folder again when it ends.

        A deployment is made in a terminal, so the record of a hosted job is read again, too.
        """
        if self._followed is None or not self._judging:
            if self._hosted and hosted.read_hosted(self._folder) != self._hosted:
                self._read_folder()
                self._show()
                self.refresh_bindings()
            return
        self._progress.feed(self._followed.read())
        self._judging = self._judging[0], observe(self._judging[0])
        if not self._is_judging:
            self._followed = None
            self._read_folder()
        self._show()
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in STEP_ACTIONS and any(
            w.group == "step" and not w.is_finished for w in self.workers
        ):
            return False  # a second key press before the dialog is there
        has_merged = self._folder.merged.is_dir()
        needs: dict[str, object] = {
            "turn": self._answers, "toggle_full": self._has_long_answers,
            "chat": self._has_model or self._is_elsewhere,
            "by_hand": self._has_pairs and not self._is_judging,
            "further": self._folder.adapter.is_dir() and self._hosted is None,
            "script": self._hosted is None and self._folder.plan.is_file(),
            "copy_command": self._serve, "export": has_merged, "push": self._has_model,
            "serve": has_merged or any(self._folder.exports.glob("*/*.gguf")),
            "run": self._can_run(str(parameters[0])) if parameters else False,
            "change": any(index < len(self._changes) for index in parameters if isinstance(index, int)),
        }  # fmt: skip
        return bool(needs.get(action, True))

    @property
    def _has_model(self) -> bool:
        return self._folder.adapter.is_dir() or self._folder.merged.is_dir()

    @property
    def _is_elsewhere(self) -> bool:
        """Whether the model is at a platform only, where it can be asked."""
        return self._hosted is not None and self._hosted.tuned_model is not None

    @property
    def _deploys_free(self) -> bool:
        """Whether a deployment costs nothing by existing, so that nothing has to be asked."""
        record = remote.read(self._folder)
        return record is not None and hosted.find_serving(record) == "free_deployment"

    def _can_run(self, command: str) -> bool:
        if command in ("eval", "card"):
            return self._has_model or self._is_elsewhere
        return self._has_model and (command != "verify" or self._folder.merged.is_dir())

    @property
    def _has_long_answers(self) -> bool:
        return any(
            len(text.strip()) > MAX_CHARACTERS
            for answer in self._answers
            for text in evaluated.list_texts(answer)
        )

    def action_chat(self) -> None:
        from ftwizard.screens.chat.page import ChatPage

        self.app.push_screen(ChatPage(self._folder))

    @work(group="step", exit_on_error=False)
    async def action_by_hand(self) -> None:
        from ftwizard.screens.monitor.blind_pairs import BlindPairsPage

        if self._newest:
            await self.app.push_screen_wait(BlindPairsPage(self._folder, self._newest))
            self._show_end(None)

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

    @work(group="step", exit_on_error=False)
    async def action_next(self) -> None:
        """Take the next best step."""
        if self._is_judging:
            self.app.notify("An evaluation is running. The next step needs its verdict.")
        elif not self._next.command:
            self.app.notify(f"{self._next.describe()}. Then come back here.", markup=False)
        elif self._next.command == "chat":
            self.action_chat()
        elif self._next.command == "deploy" and not self._deploys_free:
            # It shows its price and asks, in a terminal.
            command = self._next.format_command(self._folder.id)
            self.app.notify(f"In a terminal: {command}. Then come back here.", markup=False)
        else:
            await self._take(self._next)

    @work(group="step", exit_on_error=False)
    async def action_change(self, index: int) -> None:
        await self._take(self._changes[index])

    @work(group="step", exit_on_error=False)
    async def action_run(self, command: str) -> None:
        is_merge = command == "merge"
        step = next_steps.make_merge(self._folder) if is_merge else next_steps.STEPS[command]
        await self._take(step)

    @work(group="step", exit_on_error=False)
    async def action_export(self) -> None:
        if step := await finishing.choose_export(self.app, self._folder):
            await self._take(step)

    @work(group="step", exit_on_error=False)
    async def action_push(self) -> None:
        if step := await finishing.ask_for_push(self.app, self._folder):
            await self._take(step)

    @work(group="step", exit_on_error=False)
    async def action_further(self) -> None:
        if step := await further.ask(self.app, self._folder):
            await self._take(step)

    @work(group="step", exit_on_error=False)
    async def action_script(self) -> None:
        try:
            rows = plan_file.read_run(self._folder).data.files.train
        except FtwizardError as error:
            show_error(self.app, error)
            return
        folder = suggest_folder(rows, f"{self._folder.id}-script")
        await write_script(self.app, str(self._folder.path), folder)

    @work(group="step", exit_on_error=False)
    async def action_serve(self) -> None:
        self._show_end(await self.app.push_screen_wait(finishing.ServeDialog(self._folder)))

    async def _take(self, step: SuggestedStep) -> None:
        """Run a step and show what it made, or why it failed; show a run that it started."""
        if step.options[-1:] == ("--by-hand",):
            if self._has_pairs:
                self.action_by_hand()
            else:
                self.app.notify("Too few answers differ to compare them.")
            return
        if step.options[-1:] and step.options[-1] in PLACEHOLDERS.values():
            value = await self.app.push_screen_wait(finishing.ValueDialog(step))
            if value is None:
                return
            step = step._replace(options=(*step.options[:-1], value))
        document = await finishing.run_step(self.app, self._folder, step)
        if step.does_train and document and not isinstance(document, FtwizardError):
            self.dismiss(f"{RUN_PREFIX}{msgspec.convert(document, RunStatus).id}")
            return
        self._show_end(document)

    def _show_end(self, document: object) -> None:
        self._failure = document if isinstance(document, FtwizardError) else None
        self._read_folder()
        self._show()
        self.refresh_bindings()
        if self._failure:
            self.query_one("#finish", ScrollPane).scroll_home(animate=False)

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
        """Show all parts; those without content take no lines."""
        evaluation, parts = self._evaluation, dict[str, RenderableType | None]()
        if evaluation:
            parts = self._build_evaluation(evaluation)
        else:
            parts["outcome"] = format_verdict(self._folder)
        parts |= {
            "next": self._build_next(), "answer": self._build_answers(), "files": self._build_files()
        }  # fmt: skip
        for name in PARTS:
            part = self.query_one(f"#{name}", Static)
            part.display = parts.get(name) is not None
            part.update(parts.get(name) or "")

    def _build_evaluation(self, evaluation: Evaluation) -> dict[str, RenderableType | None]:
        width, is_tall = self.size.width - MARGIN, self.has_class("-tall")
        failures = evaluated.build_failures(evaluation, in_full=is_tall)
        run_id = self._folder.id
        changes = evaluated.build_changes(evaluation, run_id, self._next.format_command(run_id))
        return {
            "outcome": evaluated.build_verdict(evaluation),
            "scores": evaluated.format_scores(evaluation, width, with_loss=is_tall),
            "failures": failures if evaluation.failures else None,
            "actions": changes,
        }

    def _build_answers(self) -> RenderableType | None:
        total = len(self._answers)
        parts: list[RenderableType] = []
        for index in range(self._index, min(self._index + self._page_length, total)):
            parts += ["", self._build_answer(self._answers[index], index)]
        return Group(*parts[1:]) if parts else None

    def _build_answer(self, answer: evaluated.ShownAnswer, index: int) -> RenderableType:
        return evaluated.build_answer(
            answer, index, len(self._answers), lambda text: _truncate(text, self._limit),
            is_wide=self.has_class("-wide"),
        )  # fmt: skip

    def _build_next(self) -> Table:
        rows: list[tuple[Text | str, Text | str]] = []
        if self._is_judging:
            wait = describe.describe_wait(self._progress)
            doing = f"{describe.describe_progress(self._progress)}  {wait}".rstrip()
            return layout.build_table(
                [(Text("judging", "bold"), f"An evaluation is running: {doing}")]
            )
        if self._failure:
            line = Text.assemble(("✗ ", palette.BAD), make_visible(self._failure.message, 600))
            rows.append(("failed", line.append(f" {make_visible(self._failure.hint, 400)}", "dim")))
        step = self._next
        if step.is_closing:
            merged = self._result.merged if self._result else None
            serve = self._serve.line if self._serve else ""
            rows += evaluated.list_closing(self._folder, merged, serve)
        rows += evaluated.list_problem_rows(self._folder, step)
        rows += [("" if index else "judged", line)
                 for index, line in enumerate(evaluated.list_judged(self._folder))]  # fmt: skip
        if not step.is_closing:
            rows.append(("model", evaluated.build_model_line(self._folder)))
        line = Text(f"{step.describe()}")
        if step.command not in ("", "chat"):
            asks = "; asks first" if step.does_train else ""
            line.append(f"{asks}: {step.format_command(self._folder.id)}", "dim")
        rows.append((Text("Enter", f"not dim {KEY}"), line))
        return layout.build_table(rows)

    def _build_files(self) -> Table:
        folder = self._folder
        result = self._result
        merged = folder.merged.is_dir() and result and result.merged
        rows: list[tuple[str, str]] = []
        if merged and not self._next.is_closing:
            rows.append(("merged", make_visible(str(folder.merged))))
            if self._serve:
                rows.append(("serve", make_visible(self._serve.line)))
            if proof := merge_proof.read_proof(folder.merged):
                rows.append(("proof", merge_proof.format_verdict(proof)))
        if folder.adapter.is_dir():
            rows.append(("adapter", make_visible(str(folder.adapter))))
        if job := remote.read(folder):
            rows += hosted.list_facts(folder, job)
        if self._evaluation and not self._next.is_closing:
            rows += evaluated.list_forms(folder)
        if self._reproduced:
            rows += [
                ("" if index else "original", line) for index, line in enumerate(self._reproduced)
            ]
        if self._evaluation:
            rows.append(("answers", make_visible(str(folder.evaluations))))
        rows.append(("plan", make_visible(str(folder.plan))))
        rows.append(("again", _format_command("ftwizard", "train", str(folder.plan))))
        training = result.training if result else None
        if training and (trained := describe.describe_trained_rows(training)):
            # On a small terminal, warnings come first; good news can wait below the commands.
            index = len(rows) if describe.are_all_trained(training) else 0
            rows.insert(index, ("rows", trained))
        if result and (measured := result.prediction):
            rows += describe.list_measured(result, measured)
        return layout.build_table(rows)


def format_verdict(folder: JobFolder) -> Text:
    """Return one sentence on a run without an evaluation, and what to do."""
    if folder.evaluation.exists():
        text = f"The evaluation cannot be read: {make_visible(str(folder.evaluation))}."
        text += f" Evaluate again: ftwizard eval {make_visible(folder.id)}"
    else:
        text = verdict.describe(None)
    return Text.assemble(("? ", palette.WARNING), (text, "bold"))


def _format_command(*argv: str) -> str:
    return make_visible(shlex.join(argv), 1000)


def _truncate(text: str, limit: int | None) -> str:
    if not (text := text.strip()):
        return EMPTY
    cut = limit is not None and len(text) > limit
    return make_lines_visible(text[:limit] if cut else text) + ("…" if cut else "")
