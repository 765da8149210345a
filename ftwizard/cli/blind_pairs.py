"""``eval --by-hand``: answers of base and tuned model in random order, judged by the person."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import select
import sys
import termios
import tty
from collections.abc import Iterable, Iterator
from shutil import get_terminal_size
from typing import Any

import msgspec

from ftwizard import user_paths
from ftwizard.cli import output, run_argument
from ftwizard.data.new_file import new_file
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import blind_pairs, default_run, describe_evaluation
from ftwizard.runs.blind_pairs import KEYS, BlindPair, BlindPairs
from ftwizard.runs.evaluation import Evaluation
from ftwizard.runs.evaluation_files import find_newest
from ftwizard.runs.paired_tests import MIN_DIFFERING
from ftwizard.text import format_count, make_lines_visible, make_visible

MAX_CHARACTERS = 20_000
"""Characters shown of a text."""
_LINES = 8
"""Lines of a screen besides the texts: their names, the counter and the keys."""
CUT = "… (m: in full)"
"""Last line of a text that is not shown in full."""
ESCAPE_S = 0.05
"""Time in which the rest of what an arrow sends arrives."""
_SEQUENCE = re.compile(rb"\x1b(\[[0-?]*[ -/]*[@-~]|O.|.|$)", re.DOTALL)
_MORE = "m"
_HELP = "a  b  e equal  n both wrong  s skip  u undo  m in full  q leave"


def judge_by_hand(arguments: argparse.Namespace) -> Evaluation:
    """Let the person judge the pairs of a run, or take judgments; print how it stands."""
    run = run_argument.find(arguments.model, default_run.choose_chatted)
    again = f"ftwizard eval {run.id}"
    newest = find_newest(run)
    if newest is None:
        raise FtwizardError(f"Run {run.id} has no evaluation yet.", f"Evaluate it first: {again}")
    pairs = blind_pairs.read(newest.folder)
    if not pairs.can_decide:
        differing = format_count(len(pairs.pairs), "test answer differs", "test answers differ")
        raise FtwizardError(
            f"Too few to judge by hand: {differing} from the base model's.",
            f"At least {MIN_DIFFERING} are needed. Add test rows, or train more.",
        )
    asks = not (arguments.choose or arguments.pairs or arguments.json)
    if asks and not output.has_terminal():
        raise FtwizardError(
            "Judging by hand needs a terminal.",
            f"Without one: {again} --by-hand --json shows the next pair, --choose ITEM=KEY judges it.",
            USAGE,
        )
    if asks:
        _ask(newest.folder, pairs)
    for item, key in _read_judgments(arguments.choose):
        _judge(newest.folder, pairs, item, key)
    if arguments.pairs:
        _export(arguments.pairs, pairs)
    evaluation = blind_pairs.apply(newest, pairs)
    if evaluation is not newest.evaluation:
        from ftwizard.export.card import write

        write.refresh(run)
    output.print_report(
        arguments, _to_document(pairs, evaluation), _describe(pairs, evaluation, run)
    )
    return evaluation


def _judge(folder: JobFolder, pairs: BlindPairs, item: str, key: str) -> None:
    blind_pairs.record(folder, pairs.judge(item, KEYS[key]))


def _read_judgments(values: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the items and keys of ``ITEM=KEY``; ``-`` reads them from standard input, line by line."""
    for value in values:
        for line in iter(sys.stdin.readline, "") if value == "-" else (value,):
            item, _, key = line.strip().partition("=")
            if key not in KEYS:
                raise FtwizardError(
                    f"“{make_visible(line.strip(), 80)}” is not a judgment.",
                    f"Use ITEM=KEY, with one of these keys: {', '.join(KEYS)}",
                    USAGE,
                )
            yield item, key


def _export(name: str, pairs: BlindPairs) -> None:
    rows = list(blind_pairs.list_preferences(pairs))
    if not rows:
        raise FtwizardError("No pair has a better answer yet.", "Judge some first: --by-hand")
    with new_file(user_paths.make_absolute(name), mode=0o600) as file:
        file.writelines(msgspec.json.encode(row) + b"\n" for row in rows)
    print(f"✓ {make_visible(name)}: {format_count(len(rows), 'preference pair')}", file=sys.stderr)


def _to_document(pairs: BlindPairs, evaluation: Evaluation) -> dict[str, Any]:
    pair = pairs.next
    shown = None
    if pair:
        a, b = pair.texts
        shown = {"item": pair.item.id, "prompt": pair.question, "a": a, "b": b}
    return {
        "pairs": len(pairs.pairs), "judged": len(pairs.judged), "identical": pairs.identical,
        "next": shown, "by_hand": evaluation.by_hand, "verdict": evaluation.verdict,
        "why": describe_evaluation.describe_reasons(evaluation),
    }  # fmt: skip


def _describe(pairs: BlindPairs, evaluation: Evaluation, run: JobFolder) -> list[str]:
    if evaluation.by_hand is None:
        judged = f"{len(pairs.judged)} of {format_count(len(pairs.pairs), 'pair')} judged and kept."
        return [f"{judged} To continue: ftwizard eval {run.id} --by-hand"]
    lines = describe_evaluation.list_lines(evaluation, run.id)
    return [f"By hand: {blind_pairs.describe(evaluation.by_hand)}", "", *lines]


def _ask(folder: JobFolder, pairs: BlindPairs) -> None:
    """Show pair by pair and record each key at once; ctrl+c and a closed terminal end it, too."""
    print("Two answers to each prompt, in random order: which one is better?")
    print(f"{blind_pairs.describe_identical(pairs.identical)}\n".lstrip())
    with contextlib.suppress(KeyboardInterrupt, EOFError), _read_keys() as keys:
        _show(pairs)
        for key in keys:
            pair = pairs.next
            if key == "q" or (pair is None and key != "u"):
                return
            item = pairs.last if key == "u" else pair and pair.item.id
            if key in KEYS and item:
                _judge(folder, pairs, item, key)
            elif pair and key == _MORE:
                _show_in_full(pair, keys)
            else:
                continue
            _show(pairs)


@contextlib.contextmanager
def _read_keys() -> Iterator[Iterator[str]]:
    """Yield the keys that are typed, without Enter; what an arrow or another such key sends is none."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def read() -> Iterator[str]:
        while typed := os.read(terminal, 64):
            if typed.endswith(b"\x1b") and select.select([terminal], [], [], ESCAPE_S)[0]:
                typed += os.read(terminal, 64)
            keys = _SEQUENCE.sub(b"", typed).decode(errors="replace")
            yield from keys.casefold().replace("=", "e")
        raise EOFError

    try:
        tty.setcbreak(terminal)
        yield read()
    finally:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _show(pairs: BlindPairs) -> None:
    pair = pairs.next
    if pair is None:
        print("── All is judged ──\nu undo  any other key: the result", flush=True)
        return
    width, height = get_terminal_size()
    room = max(6, height - _LINES)
    lines = [f"── {len(pairs.judged) + 1} of {len(pairs.pairs)} ──"]
    for name, text in _name_texts(pair):
        limit = room // 4 if name == "prompt" else room * 3 // 8
        lines += [name, *(f"  {line}" for line in cut(text, width - 3, limit))]
    print("\n".join([*lines, _HELP]), flush=True)


def _show_in_full(pair: BlindPair, keys: Iterator[str]) -> None:
    """Print a pair in full; any key shows the next lines that fit the terminal."""
    width, height = get_terminal_size()
    lines = [
        line
        for name, text in _name_texts(pair)
        for line in (f"── {name} ──", *cut(text, width - 1))
    ]
    step = max(1, height - 1)
    for start in range(0, len(lines), step):
        print("\n".join(lines[start : start + step]), flush=True)
        print("── any key: more ──", flush=True)
        next(keys)


def _name_texts(pair: BlindPair) -> list[tuple[str, str]]:
    return list(zip(("prompt", "A", "B"), (pair.question, *pair.texts), strict=True))


def cut(text: str, width: int, limit: int | None = None) -> list[str]:
    """Return a text as lines that fit, of which at most ``limit`` are shown; controls are visible."""
    from rich.console import Console
    from rich.text import Text

    most = MAX_CHARACTERS if limit is None else min(MAX_CHARACTERS, (limit + 1) * width)
    shown = make_lines_visible(text[:most]).expandtabs(4)
    lines = [line.plain.rstrip() for line in Text(shown).wrap(Console(width=width), width)]
    if limit and (len(lines) > limit or len(text) > most):
        return [*lines[: limit - 1], CUT]
    if len(text) > most:
        lines.append(f"… and {len(text) - most:,} more characters")
    return lines if text else ["(empty)"]
