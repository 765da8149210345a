"""What is typed means the same before and after the command."""

from __future__ import annotations

import pytest

from ftwizard.commands import parser

WITH_A_VIEW = (["watch", "x"], ["train", "plan.yaml"], ["demo"])


@pytest.mark.parametrize("command", [*WITH_A_VIEW, ["status", "x"], []])
@pytest.mark.parametrize("option", ["--plain", "--ascii"])
def test_how_to_show_may_be_said_before_the_command(command: list[str], option: str) -> None:
    for name in ("plain", "ascii"):
        said = parser().parse_args([option, *command])
        assert getattr(said, name) is (option == f"--{name}")
        assert getattr(parser().parse_args(command), name) is False


@pytest.mark.parametrize("command", WITH_A_VIEW)
def test_and_after_it(command: list[str]) -> None:
    said = parser().parse_args(["--plain", *command, "--ascii"])
    assert said.plain and said.ascii
