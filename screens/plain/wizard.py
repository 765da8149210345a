"""The wizard in plain mode: the same questions, texts and plan as the screens."""

from __future__ import annotations

import functools
import signal
from dataclasses import replace

import msgspec
from rich.text import Text

from ftwizard.cli import output, watch
from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.hardware import machine
from ftwizard.pricing import machine_rate
from ftwizard.runs import store
from ftwizard.screens.draft import STEPS, drafts, texts
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.plain import signals, steps
from ftwizard.screens.plain.prompts import GoBack, NumberedPrompter, Prompter, UserQuit
from ftwizard.screens.plain.steps import Item
from ftwizard.screens.terminal import glyphs

NOTHING = "Nothing was started or written."


def open_plain(*, ascii: bool = False) -> int:
    """Ask everything, start the run, follow it; return the exit code."""
    with signals.exit_cleanly():
        prompter = _create_prompter(ascii=ascii or not glyphs.supports_unicode())
        saved: list[str] = []
        try:
            prompter.print("Fine-tune a model on your data, question by question.")
            prompter.note(f"{prompter.keys} Nothing is written before the last question.")
            prompter.print()
            facts = machine.read_machine_info()
            prompter.note(texts.describe_machine(facts))
            run = _ask_all(prompter, Draft(facts, hour=machine_rate.read_saved_price()), saved)
        except (UserQuit, KeyboardInterrupt):
            prompter.print()
            prompter.print(_describe_leftovers(saved, prompter.written_files))
            return DECLINED
        return watch.follow(store.find(run))


def _describe_leftovers(saved: list[str], written: list[str]) -> str:
    """Describe what was written although nothing was started."""
    if saved:
        return f"Nothing was started. The plan is saved in {saved[-1]}."
    if written:
        return f"Nothing was started. New data files: {' and '.join(written)}."
    return NOTHING


def _create_prompter(*, ascii: bool) -> Prompter:
    """Return the prompter that suits this terminal."""
    if not output.can_draw():
        return NumberedPrompter(ascii=ascii)
    from ftwizard.screens.plain.questionary_prompts import CursorPrompter

    return CursorPrompter(ascii=ascii)


def _ask_all(prompter: Prompter, draft: Draft, saved: list[str]) -> str:
    """Ask all questions, forward and back with answers kept; return the run's id."""
    items = [*steps.list_items(draft), Item(STEPS[-1], _ask_name), Item(STEPS[-1], _confirm)]
    answered: list[int] = []
    index, step = 0, ""
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
        try:
            draft = replace(draft, saved=draft.name)
            return _start(prompter, draft, saved)
        except FtwizardError as error:
            prompter.print_problem(error)
            index = answered.pop()


def _print_step(prompter: Prompter, step: str, before: str) -> str:
    """Print the step's title if it is a new one."""
    if step != before:
        prompter.print()
        number = f"  {STEPS.index(step) + 1} of {len(STEPS)}"
        prompter.print(Text.assemble((step, "bold"), (number, "dim")))
    return step


def _step_back(items: list[Item], answered: list[int], name: str) -> int:
    """Go back to the last answered question, or to the named one; return its index."""
    while answered:
        index = answered.pop()
        if name in ("", items[index].name):
            return index
    return 0


def _ask_name(prompter: Prompter, draft: Draft) -> Draft:
    default = drafts.suggest_run_name(draft)
    check = functools.partial(drafts.find_name_problem, saved=draft.saved)
    return draft.named(prompter.ask_line("Name of the run", default, check=check))


def _confirm(prompter: Prompter, draft: Draft) -> Draft:
    """Show the plan and its warnings; quit unless it is to be started."""
    prompter.print("The plan (default values are left out):")
    prompter.print()
    prompter.print(drafts.non_default_yaml(draft.plan).rstrip())
    if (warnings := texts.format_warnings(draft)).plain:
        prompter.print()
        prompter.print(warnings, hang=2)
    prompter.print()
    prompter.note("The same without questions:")
    prompter.print_line(drafts.format_command(draft.name, draft.hour))
    options = [("start", "yes, and run it in the background"), ("leave", "no, quit")]
    if prompter.choose("Save the plan and start the run?", options) == "leave":
        raise UserQuit
    return draft


def _start(prompter: Prompter, draft: Draft, saved: list[str]) -> str:
    """Save the plan, start the run; return its id. Raises FtwizardError."""
    # Half a start would be worse than a late ctrl+c.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        saved.append(drafts.save(draft))
        argv = ("train", saved[-1], "--name", draft.name, *machine_rate.price_arguments(draft.hour))
        document = prompter.run("Starting the run", *argv, lasting=True)
        return msgspec.convert(document, store.RunStatus).id
    finally:
        signal.signal(signal.SIGINT, before)
