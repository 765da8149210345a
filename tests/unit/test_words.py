"""A run in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftwizard import words
from ftwizard.jobs.ending import NEXT_STEP
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import Status

FOLDER = JobFolder(Path("/runs/one"))


@pytest.mark.parametrize("text", ["Set {x: 1}.", "{", "{0}", "{folder.path.__class__}", "{id"])
def test_braces_in_what_a_command_said_mean_nothing(text: str) -> None:
    status = Status(state="ended", attempt=1, end_reason="crashed", message=text, hint=text)
    assert words.ending(FOLDER, status) == ["✗ Run one crashed.", text, text]


@pytest.mark.parametrize("reason", NEXT_STEP)
def test_the_next_step_names_the_run(reason: str) -> None:
    said = words.ending(FOLDER, Status(state="ended", attempt=1, end_reason=reason))
    assert "one" in said[0]
    assert not any("{" in line for line in said)
    assert len(said) == 2 - (not NEXT_STEP[reason])


def test_braces_in_the_folder_s_name_mean_nothing() -> None:
    status = Status(state="ended", attempt=1, end_reason="disk_full")
    said = words.ending(JobFolder(Path("/{0}/one")), status)
    assert said[1].startswith("Free some space where /{0}/one is")
