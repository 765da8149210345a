"""Command-line parser: options around the command, and choices that match the engine."""

from __future__ import annotations

import re
import shlex
from typing import get_args

import pytest

from ftwizard import errors
from ftwizard.catalog.prices import Edition
from ftwizard.cli import commands, help_text
from ftwizard.cli.commands import RISKS
from ftwizard.cli.parser import _build_parsers, dispatch, parser
from ftwizard.data import formats
from ftwizard.data.format_names import FORMAT_NAMES, Format, FormatChoice
from ftwizard.errors import FtwizardError
from ftwizard.plan import plan_file, schema
from ftwizard.pricing.offer_list import SortKey
from ftwizard.rewards.recognized_answers import RowScorer
from ftwizard.strict_yaml import SettingsError

VIEW_COMMANDS = (["watch", "x"], ["train", "plan.yaml"], ["demo"])


@pytest.mark.parametrize("command", [*VIEW_COMMANDS, ["status", "x"], []])
@pytest.mark.parametrize("option", ["--plain", "--ascii", "--slow"])
def test_display_options_work_before_the_command(command: list[str], option: str) -> None:
    for name in ("plain", "ascii", "slow"):
        args = parser().parse_args([option, *command])
        assert getattr(args, name) is (option == f"--{name}")
        assert getattr(parser().parse_args(command), name) is False


@pytest.mark.parametrize("command", VIEW_COMMANDS)
def test_display_options_combine_before_and_after_the_command(command: list[str]) -> None:
    args = parser().parse_args(["--plain", *command, "--ascii"])
    assert args.plain and args.ascii


def test_help_lists_the_exit_codes_that_commands_return() -> None:
    listed = re.findall(r"(?:: |· ?\n?)(\d) ", parser().epilog or "")
    expected = [0, errors.FAILED, errors.USAGE, errors.DECLINED, errors.CANNOT_TELL]
    assert list(map(int, listed)) == expected


def test_help_promises_only_commands_that_exist() -> None:
    description = parser().description or ""
    assert not re.search("serve it|evaluate", description)
    assert re.search("fine-tune .* compares .* merges", description)


@pytest.mark.parametrize("width", [60, 80, 160])
def test_help_is_wrapped_at_words_at_any_width(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    root, by_name = _build_parsers()
    for command in (root, *by_name.values()):
        text = command.format_help()
        shown = set(text.split())
        for line in text.splitlines():
            assert len(line) <= width or len(line.split()) == 1, line
        for action in command._actions:
            words = set(str(action.help or "").split()) - {"%(prog)s"}
            # Only a word longer than the column is broken, at a comma.
            assert {word for word in words - shown if "," not in word} == set()
        last = text.rstrip().splitlines()[-1]
        assert last.strip() and command.prog in text


def test_help_begins_with_the_wizard_and_groups_every_command() -> None:
    text = parser().format_help()
    first = text.split("\n\n")[1]
    assert first.startswith("Without a command, ftwizard opens a wizard")
    names = [name for name, *_ in commands.COMMANDS]
    grouped = [name for group in help_text.GROUPS.values() for name in group]
    assert sorted(set(names) - set(grouped)) == []
    assert len(grouped) == len(set(grouped))
    places = [text.index(f"\n{title}:") for title in help_text.GROUPS]
    assert places == sorted(places) and f"\n{help_text.OTHERS}:" not in text
    for name, summary, *_ in commands.COMMANDS:
        assert f"\n  {name} " in text and summary.split()[0] in text


def test_examples_in_the_help_are_valid_commands() -> None:
    for name, example in help_text.EXAMPLES.items():
        program, *argv = shlex.split(example)
        arguments = parser().parse_args(argv)
        assert (program, arguments.command) == ("ftwizard", name)
        assert example in " ".join(_build_parsers()[1][name].format_help().split())


def test_help_as_a_word_is_the_help_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["help", "train"], ["train", "--help"], ["help"]):
        with pytest.raises(SystemExit) as end:
            dispatch(argv, None)  # type: ignore[arg-type]
        assert end.value.code == 0
    shown = capsys.readouterr().out
    assert shown.count("usage: ftwizard train") == 2
    assert "usage: ftwizard [FILE | COMMAND" in shown


def test_words_of_other_tools_name_commands_that_exist() -> None:
    names = {name for name, *_ in commands.COMMANDS}
    assert set(help_text.SYNONYMS.values()) <= names
    assert not set(help_text.SYNONYMS) & names


def test_format_choices_match_the_plan_and_the_readers() -> None:
    assert get_args(FormatChoice) == ("auto", *get_args(Format))
    assert tuple(FORMAT_NAMES) == tuple(formats.READERS) == get_args(Format)
    text = "data: {files: {train: a}, format: %s}\nmodel: {name: b/c}\n"
    for name in get_args(FormatChoice):
        assert parser().parse_args(["check", "x", "--format", name]).format == name
        assert plan_file.parse(text % name).data.format == name
    with pytest.raises(FtwizardError, match="--format cannot be “xml”"):
        parser().parse_args(["check", "x", "--format", "xml"])
    with pytest.raises(SettingsError) as error:
        plan_file.parse(text % "xml")
    assert error.value.hint == f"One of: {', '.join(get_args(FormatChoice))}."


def test_editions_risks_sort_keys_and_epochs_match_the_engine() -> None:
    assert get_args(Edition) == commands.EDITIONS
    assert get_args(schema.RiskName) == RISKS
    assert get_args(RowScorer) == (*commands.SCORERS[1:], "rewards")
    assert get_args(SortKey) == commands.SORTS
    assert schema.Recipe().epochs == commands.EPOCHS
