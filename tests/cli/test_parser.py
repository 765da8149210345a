"""Command-line parser: options around the command, and choices that match the engine."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from ftwizard import errors
from ftwizard.catalog.prices import Edition
from ftwizard.cli import commands
from ftwizard.cli.commands import RISKS
from ftwizard.cli.parser import parser
from ftwizard.data import formats
from ftwizard.data.format_names import FORMAT_NAMES, Format, FormatChoice
from ftwizard.errors import FtwizardError
from ftwizard.plan import plan_file, schema
from ftwizard.pricing.offer_list import SortKey
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
    assert list(map(int, listed)) == [0, errors.FAILED, errors.USAGE, errors.DECLINED]


def test_help_promises_only_commands_that_exist() -> None:
    description = parser().description or ""
    assert not re.search("serve it|evaluate", description)
    assert re.search("Fine-tune .* compare .* merge", description)


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
    assert get_args(SortKey) == commands.SORTS
    assert schema.Recipe().epochs == commands.EPOCHS
