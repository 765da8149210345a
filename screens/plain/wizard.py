"""The wizard in lines of text: the same questions, words and plan as the screens."""

from __future__ import annotations

import functools
import signal
from dataclasses import replace

from rich.text import Text

from ftwizard import hour_price, machine, runs
from ftwizard.commands import output, watch
from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.screens import draft as drafts
from ftwizard.screens import glyphs, texts
from ftwizard.screens.draft import Draft
from ftwizard.screens.plain import leaving, steps
from ftwizard.screens.plain.asking import Asker, Back, Left, Numbered
from ftwizard.screens.plain.steps import Item
from ftwizard.screens.steps import STEPS

NOTHING = "Nothing was started; nothing was written."


def open_plain(*, ascii: bool = False) -> int:
    """Ask everything at this terminal, start the run, follow it; return the exit code."""
    with leaving.orderly():
        ask = _asker(ascii=ascii or not glyphs.shows_unicode())
        saved: list[str] = []
        try:
            ask.say("From your rows to a fine-tuned model, question by question.")
            ask.note(f"{ask.keys} Nothing is written before the last question.")
            ask.say()
            facts = machine.facts()
            ask.note(texts.this_machine(facts))
            run = _through(ask, Draft(facts, hour=hour_price.remembered()), saved)
        except (Left, KeyboardInterrupt):
            ask.say()
            ask.say(_what_is_left(saved, ask.written))
            return DECLINED
        return watch.follow(runs.find(run))


def _what_is_left(saved: list[str], written: list[str]) -> str:
    """Say what was written although nothing was started."""
    if saved:
        return f"Nothing was started; the plan is kept in {saved[-1]}."
    if written:
        return f"Nothing was started; new rows are in {' and '.join(written)}."
    return NOTHING


def _asker(*, ascii: bool) -> Asker:
    """Return how this terminal can be asked."""
    if not output.can_draw():
        return Numbered(ascii=ascii)
    from ftwizard.screens.plain.cursor import Cursor

    return Cursor(ascii=ascii)


def _through(ask: Asker, draft: Draft, saved: list[str]) -> str:
    """Go through all questions, forth and back with the answers kept; return the run's id."""
    items = [*steps.items(draft), Item(STEPS[-1], _name), Item(STEPS[-1], _confirm)]
    answered: list[int] = []
    place, step = 0, ""
    while True:
        while place < len(items):
            item, before = items[place], ask.asked
            step = _enter(ask, item.step, step)
            ask.can_go_back = bool(answered)
            try:
                draft = item.ask(ask, draft)
            except Back as back:
                place = _before(items, answered, back.to)
                continue
            if ask.asked > before:
                answered.append(place)
            place += 1
        try:
            draft = replace(draft, saved=draft.name)
            return _start(ask, draft, saved)
        except FtwizardError as error:
            ask.problem(error)
            place = answered.pop()


def _enter(ask: Asker, step: str, before: str) -> str:
    """Say which step begins, where another one did."""
    if step != before:
        ask.say()
        number = f"  {STEPS.index(step) + 1} of {len(STEPS)}"
        ask.say(Text.assemble((step, "bold"), (number, "dim")))
    return step


def _before(items: list[Item], answered: list[int], name: str) -> int:
    """Take answered questions back, down to the last one, or to the one of that name."""
    while answered:
        place = answered.pop()
        if name in ("", items[place].name):
            return place
    return 0


def _name(ask: Asker, draft: Draft) -> Draft:
    given = drafts.suggested_name(draft)
    check = functools.partial(drafts.name_problem, saved=draft.saved)
    return draft.called(ask.line("Name of the run", given, check=check))


def _confirm(ask: Asker, draft: Draft) -> Draft:
    """Show the plan and what speaks against it; leave unless it is to be started."""
    ask.say("The plan; what it does not say has its default:")
    ask.say()
    ask.say(drafts.brief(draft.plan).rstrip())
    if (warnings := texts.warnings(draft)).plain:
        ask.say()
        ask.say(warnings, hang=2)
    ask.say()
    ask.note("This does the same without questions:")
    ask.keep(drafts.command(draft.name, draft.hour))
    options = [("start", "yes: it goes on without this window"), ("leave", "no, leave")]
    if ask.choose("Save the plan and start the run?", options) == "leave":
        raise Left
    return draft


def _start(ask: Asker, draft: Draft, saved: list[str]) -> str:
    """Save the plan, start the run; return its id. Raises FtwizardError."""
    # Half a start would be worse than a late ctrl+c.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        saved.append(drafts.save(draft))
        argv = ("train", saved[-1], "--name", draft.name, *hour_price.argv(draft.hour))
        return str(ask.run("Starting the run", *argv, lasting=True)["id"])
    finally:
        signal.signal(signal.SIGINT, before)
