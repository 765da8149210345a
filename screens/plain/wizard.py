"""The wizard in plain mode: the same questions, texts and plan as the screens."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import os
import signal
import sys
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import msgspec
from rich.text import Text

from ftwizard.advice import time_cap
from ftwizard.alarm import Alarm
from ftwizard.cli import output, watch
from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.estimate.report import EstimateReport
from ftwizard.hardware import machine
from ftwizard.plan import plan_file
from ftwizard.pricing import machine_rate
from ftwizard.runs import describe, ejected_script, store
from ftwizard.runs.ejected_script import EjectReport
from ftwizard.screens.draft import (
    STEPS,
    draft_document,
    drafts,
    ejection,
    first_draft,
    place_texts,
    saved_drafts,
    setting_values,
    texts,
    time_limit,
)
from ftwizard.screens.draft.after_training import NAMES_WIDTH, format_summary
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.draft.saved_drafts import DraftFile
from ftwizard.screens.draft.suggestions import suggest_folder
from ftwizard.screens.plain import after_training, costs, data, hosted, provider, recipe
from ftwizard.screens.plain.prompts import (
    CONTINUE,
    FORGET,
    AskFunction,
    GoBack,
    NumberedPrompter,
    Prompter,
    UserQuit,
)
from ftwizard.screens.terminal import glyphs
from ftwizard.screens.wizard import open_points
from ftwizard.slurm.client import JobPreview

NOTHING = "Nothing was started or written."
MAX_EXIT_S = 0.9
"""A write to a frozen terminal blocks forever, so the process ends after this time."""
POLL_S = 0.5
SIGNALS = (signal.SIGHUP, signal.SIGTERM)


def open_plain(names: Sequence[str] = (), *, ascii: bool = False) -> int:
    """Ask everything, start the run, follow it; return the exit code.

    ``names``: data files or a plan to begin with.
    """
    with exit_cleanly():
        prompter = _create_prompter(ascii=ascii or not glyphs.supports_unicode())
        saved, file = list[str](), DraftFile()
        try:
            prompter.print("Fine-tune a model on your data, question by question.")
            prompter.note(f"{prompter.keys} Nothing is started before the last question.")
            prompter.print()
            facts = machine.read_machine_info()
            prompter.note(texts.describe_machine(facts))
            new = first_draft.begin(names, facts, machine_rate.read_saved_price())
            draft, step, file = _choose_draft(prompter, new, names)
            try:
                run = _ask_all(prompter, draft, saved, file, STEPS[step])
            finally:
                file.release()
        except (UserQuit, KeyboardInterrupt):
            prompter.print()
            leftovers = _describe_leftovers(saved, prompter.written_files, is_kept=file.exists)
            prompter.print(leftovers)
            return DECLINED
        return watch.follow(store.find(run))


def _choose_draft(
    prompter: Prompter, new: Draft, names: Sequence[str] = ()
) -> tuple[Draft, int, DraftFile]:
    """Offer to continue an interrupted wizard; return draft, step and file to work with.

    ``names``: data files or a plan that ``new`` begins with.
    """
    saved, first = saved_drafts.list_drafts(), STEPS.index("Data") if names else 0
    for path in saved.damaged:
        prompter.note(saved_drafts.describe_damage(path))
    offered = draft_document.select_drafts(saved.drafts, names)
    if not offered:
        return new, first, DraftFile()
    options = [(str(path), f"continue {draft.describe()}") for path, draft in offered]
    options += [(CONTINUE, "start a new one"), (FORGET, "start a new one and forget the others")]
    chosen = prompter.choose("Continue?", options, options[0][0])
    if chosen == FORGET:
        for path, _ in offered:
            saved_drafts.forget(path)
    if chosen in (CONTINUE, FORGET):
        return new, first, DraftFile()
    try:
        draft, step = draft_document.read(Path(chosen), new.machine)
    except FtwizardError as error:
        prompter.print_problem(error)
        return new, first, DraftFile()
    file, data_step = DraftFile(Path(chosen)), STEPS.index("Data")
    if step <= data_step:
        return draft, step, file
    allowed = draft.plan.allow
    read = data.check_rows(prompter, draft)
    if read is None or read.checked is None:
        return draft, data_step, file
    skips = "skip-bad-rows" in allowed and read.checked.usable < read.checked.rows
    return read.allowing("skip-bad-rows", skips), min(step, STEPS.index("Estimate")), file


def _describe_leftovers(saved: list[str], written: list[str], *, is_kept: bool) -> str:
    """Describe what was written although nothing was started; ``is_kept``: the answers are."""
    parts = []
    if saved:
        parts.append(f"The plan is saved in {saved[-1]}.")
    elif written:
        parts.append(f"New files: {' and '.join(written)}.")
    if is_kept:
        parts.append("ftwizard offers to continue with your answers.")
    return " ".join(("Nothing was started.", *parts)) if parts else NOTHING


def _create_prompter(*, ascii: bool) -> Prompter:
    """Return the prompter that suits this terminal."""
    if not output.can_draw():
        return NumberedPrompter(ascii=ascii)
    from ftwizard.screens.plain.questionary_prompts import CursorPrompter

    return CursorPrompter(ascii=ascii)


def _ask_all(
    prompter: Prompter, draft: Draft, saved: list[str], file: DraftFile, first: str
) -> str:
    """Ask all questions from a step on, forward and back with answers kept; return the run's id.

    The answers are kept in ``file`` until the run is started.
    """
    items = list_items(draft)
    index, step = next(number for number, item in enumerate(items) if item.step == first), ""
    answered = list(range(index))
    while True:
        while index < len(items):
            item, before = items[index], prompter.question_count
            step = _print_step(prompter, item.step, step)
            prompter.can_go_back = bool(answered)
            try:
                draft = item.ask(prompter, draft)
            except GoBack as back:
                index = _step_back(items, answered, back.to)
                continue
            if prompter.question_count > before:
                answered.append(index)
            index += 1
            if draft.has_answers:
                after = items[min(index, len(items) - 1)].step
                draft_document.save(file, STEPS.index(after), draft)
        try:
            saved.append(drafts.save(draft))
            draft = replace(draft, saved=draft.name)
            run = _start(prompter, draft, saved[-1])
        except FtwizardError as error:
            prompter.print_problem(error)
            index = answered.pop()
        else:
            file.forget()
            return run


def _print_step(prompter: Prompter, step: str, before: str) -> str:
    """Print the step's title if it is a new one."""
    if step != before:
        prompter.print()
        number = f"  {STEPS.index(step) + 1} of {len(STEPS)}"
        prompter.print(Text.assemble((step, "bold"), (number, "dim")))
    return step


def _step_back(items: list[WizardQuestion], answered: list[int], name: str) -> int:
    """Go back to the last answered question, or to the named one; return its index."""
    while answered:
        index = answered.pop()
        if name in ("", items[index].name):
            return index
    return 0


@dataclass(frozen=True)
class WizardQuestion:
    """A question and its step."""

    step: str
    """One of ``STEPS``."""
    ask: AskFunction
    name: str = ""
    """Name for going back to it."""


def list_items(draft: Draft) -> list[WizardQuestion]:
    """List all questions in order; one that does not apply asks nothing."""
    fit = functools.partial(provider.ask_question, drafts.list_questions(draft)[0])
    model, hosted_model = hosted.only_local(recipe.ask_model), hosted.only_hosted(hosted.ask_model)
    at_platform = (hosted.ask_account, hosted.only_hosted(hosted.ask_method))
    recipe_questions = map(hosted.only_local, recipe.list_questions())
    asks_by_step: list[tuple[AskFunction, ...]] = [
        (fit, provider.confirm_tool, provider.choose_provider, *at_platform),
        (data.ask_file, data.inspect_rows, data.confirm_doubts, data.ask_validation, note_reason),
        (model, hosted_model, *recipe_questions, hosted.only_hosted(hosted.ask_settings),
         after_training.ask),
        (hosted.only_local(count_tokens), hosted.only_local(show_estimate),
         hosted.only_hosted(hosted.show_upload)),
        (_ask_name, _confirm),
    ]  # fmt: skip
    names: dict[AskFunction, str] = {
        data.ask_file: "file", model: "model", hosted_model: "hosted-model"
    }  # fmt: skip
    return [
        WizardQuestion(step, ask, names.get(ask, ""))
        for step, asks in zip(STEPS, asks_by_step, strict=True)
        for ask in asks
    ]


def note_reason(_prompter: Prompter, draft: Draft) -> Draft:
    """Note in the plan why it is trained there; asks nothing."""
    return draft.with_provider_reason()


def count_tokens(prompter: Prompter, draft: Draft) -> Draft:
    """Count tokens with the model's tokenizer unless counted already."""
    if draft.is_stale:
        prompter.print_problem(texts.file_changed_error(draft))
        raise GoBack("file")
    changes: list[str] = []
    while draft.estimate is None:
        try:
            with drafts.temporary_plan(draft) as plan:
                title = texts.COUNTING_AGAIN if changes else texts.COUNTING
                document = prompter.run(title, "estimate", plan)
            draft = draft.with_estimate(msgspec.convert(document, EstimateReport))
        except FtwizardError as error:
            prompter.print_problem(error)
            raise GoBack("model") from None
        if not changes:  # the model's size is known now, so more advice applies
            draft, changes = setting_values.apply_advice(draft)
    if changes:
        prompter.print(texts.format_adjustments(changes))
    return draft


def show_estimate(prompter: Prompter, draft: Draft) -> Draft:
    """Print the estimate and offer changes."""
    _print_estimate(prompter, draft)
    while (chosen := prompter.choose("Continue with this?", _list_changes(draft))) != CONTINUE:
        before = draft
        if chosen == "costs":
            draft = costs.browse_costs(prompter, draft, datetime.date.today())
            continue
        if chosen == "limit":
            with contextlib.suppress(GoBack):
                draft = switch_limit(prompter, draft)
            draft = count_tokens(prompter, draft)
            if tighter := time_limit.tighten(draft):
                draft = count_tokens(prompter, tighter)
        else:
            draft = costs.ask_hour(prompter, draft)
        if draft != before:
            _print_estimate(prompter, draft)
    return draft


def switch_limit(prompter: Prompter, draft: Draft) -> Draft:
    """Ask for a time limit, or undo the draft's."""
    if draft.limit is not None:
        return time_limit.undo(draft)
    prompter.explain(time_limit.EXPLANATION)
    parse = functools.partial(time_limit.find_fit, draft)
    cap = prompter.ask_value("Minutes", f"{time_cap.DEFAULT_MINUTES:g}", parse=parse)
    for line in time_cap.describe_losses(cap):
        prompter.print(f"· {line}", hang=2)
    prompter.print(time_cap.describe_outcome(cap))
    options = [("use", "yes"), ("keep", "no, keep mine")]
    chosen = prompter.choose("Use these settings?", options)
    return time_limit.apply(draft, cap) if chosen == "use" else draft


def _list_changes(draft: Draft) -> list[tuple[str, str]]:
    """List what can be done with an estimate."""
    minutes = f"{time_cap.DEFAULT_MINUTES:g}"
    limit = f"quick look: something in {minutes} minutes, and what that gives up"
    return [
        (CONTINUE, "yes"),
        ("limit", "undo the time limit" if draft.limit else limit),
        ("costs", "compare the costs of all providers"),
        ("hour", "set the hourly price of this machine"),
    ]


def _print_estimate(prompter: Prompter, draft: Draft) -> None:
    words = texts.format_estimate(draft, costs.PRICE_HINT)
    words.append_text(texts.format_limit(draft))
    prompter.print(words, hang=texts.ESTIMATE_NAMES_WIDTH)


def _ask_name(prompter: Prompter, draft: Draft) -> Draft:
    default = drafts.suggest_run_name(draft)

    def check(name: str) -> str:
        return drafts.find_name_problem(drafts.settle_run_name(draft, name, default), draft.saved)

    name = prompter.ask_line("Name of the run", default, check=check)
    return draft.named(drafts.settle_run_name(draft, name, default))


def _confirm(prompter: Prompter, draft: Draft) -> Draft:
    """Show the plan and its warnings; quit unless it is to be started."""
    prompter.print("The plan (default values are left out):")
    prompter.print()
    prompter.print(plan_file.dump(draft.final_plan, defaults=False).rstrip())
    prompter.print()
    prompter.print(format_summary(draft), hang=NAMES_WIDTH)
    if place := place_texts.describe_place(draft):
        prompter.print(f"Trains on: {place}", hang=2)
    if draft.final_plan.where.scheduler == "slurm":
        _show_job(prompter, draft)
    if points := open_points.format_open_points(draft):
        prompter.print()
        prompter.print(points, hang=open_points.NAMES_WIDTH)
    prompter.print()
    prompter.note("The same without questions:")
    command = drafts.format_command(draft.name, None if draft.hosted else draft.hour)
    prompter.print_line(f"{command} --yes" if draft.hosted else command)
    if draft.hosted:
        return hosted.confirm_upload(prompter, draft)
    options = [
        ("start", "yes, and run it in the background"),
        ("script", "no, write it as a plain TRL script"),
        ("leave", "no, quit"),
    ]
    while (chosen := prompter.choose("Save the plan and start the run?", options)) == "script":
        with contextlib.suppress(GoBack):
            _write_script(prompter, draft)
    if chosen == "leave":
        raise UserQuit
    return draft


def _write_script(prompter: Prompter, draft: Draft) -> None:
    """Ask where the script of the plan goes, write it, and print how it is started."""
    folder = suggest_folder(draft.plan.data.files.train, f"{draft.name}-script")
    gpu = ""
    prompter.explain(ejection.EXPLANATION)
    while True:
        folder = prompter.ask_value("Folder of the script", folder, parse=ejection.parse_folder)
        gpu = prompter.ask_value("SkyPilot GPU (Enter: none)", gpu, parse=ejection.parse_gpu)
        try:
            with drafts.temporary_plan(draft, draft.name) as plan:
                argv = ejection.Ejection(folder, gpu).build_argv(plan)
                report = msgspec.convert(prompter.run(ejection.PROGRESS, *argv), EjectReport)
        except FtwizardError as error:
            prompter.print_problem(error)
            continue
        prompter.written_files.append(report.folder)
        first, *rest = ejected_script.describe_report(report)
        prompter.print(f"✓ {first}", hang=2)
        for line in rest:
            prompter.print(f"  {line}", hang=2)
        prompter.print()
        return


def _show_job(prompter: Prompter, draft: Draft) -> None:
    """Print the batch script, and when and where Slurm would start it."""
    try:
        with drafts.temporary_plan(draft) as plan:
            document = prompter.run("Asking Slurm", "slurm", plan, "--name", draft.name)
    except FtwizardError as error:
        _print_script(prompter, error.document.get("script", ""))
        prompter.print_problem(place_texts.describe_refusal(error))
        return
    tested = msgspec.convert(document, JobPreview)
    _print_script(prompter, tested.script)
    prompter.print(describe.describe_placement(tested.placement))


def _print_script(prompter: Prompter, script: str) -> None:
    prompter.print()
    for line in script.splitlines():
        prompter.print_line(line)
    prompter.print()


def _start(prompter: Prompter, draft: Draft, plan: str) -> str:
    """Start the run of a plan; return its id. Raises FtwizardError."""
    # Half a start would be worse than a late ctrl+c.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        options = ("--yes",) if draft.hosted else machine_rate.price_arguments(draft.hour)
        argv = ("train", plan, "--name", draft.name, *options)
        document = prompter.run("Starting the run", *argv, lasting=True)
        return msgspec.convert(document, store.RunStatus).id
    finally:
        signal.signal(signal.SIGINT, before)


class TerminalHungUp(SystemExit):
    """The terminal is gone, or the process was asked to end.

    A SystemExit, because an event loop lets nothing else through.
    """


@contextlib.contextmanager
def exit_cleanly() -> Iterator[None]:
    """Raise TerminalHungUp in the caller on SIGHUP, SIGTERM and a dead terminal; end within a second."""
    at_first = termios.tcgetattr(sys.stdin.fileno())
    is_over = Alarm()

    def leave(number: int, frame: Any) -> None:
        for again in SIGNALS:
            signal.signal(again, signal.SIG_IGN)
        code = 128 + number
        threading.Thread(target=_end_later, args=(at_first, code), daemon=True).start()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise TerminalHungUp(code) from None
        # A task that the signal interrupts would keep the exception and report it.
        loop.call_soon_threadsafe(_hang_up, code)

    before = {number: signal.signal(number, leave) for number in SIGNALS}
    threading.Thread(target=_watch, args=(is_over,), daemon=True).start()
    try:
        yield
    finally:
        is_over.set()
        if signal.getsignal(signal.SIGHUP) is leave:
            for number, handler in before.items():
                signal.signal(number, handler)


def _hang_up(code: int) -> NoReturn:
    raise TerminalHungUp(code)


def _watch(is_over: Alarm) -> None:
    """Raise SIGHUP when the terminal is gone, as a blocked read may never return."""
    while not is_over.wait(POLL_S):
        try:
            termios.tcgetattr(sys.stdin.fileno())
        except (termios.error, OSError, ValueError):
            os.kill(os.getpid(), signal.SIGHUP)
            return


def _end_later(at_first: list[Any], code: int) -> None:
    time.sleep(MAX_EXIT_S)
    with contextlib.suppress(Exception):
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, at_first)
    with contextlib.suppress(Exception):
        os.set_blocking(2, False)
        os.write(2, b"\x1b[?25h\x1b[?2004l")
    os._exit(code)
