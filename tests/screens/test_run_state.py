"""Run states as shown in the list of runs."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ftwizard.runs import describe, store
from ftwizard.screens.run_state import describe_state
from tests.screens.runs_helpers import make_run


def test_phase_is_shown_in_american_spelling(home: Path) -> None:
    ended = store.read_status(make_run(home, "a"))
    status = msgspec.structs.replace(ended, state="running", phase="tokenising")
    assert describe_state(status)[0] == "● tokenizing"


def test_finished_run_whose_process_still_exits_is_not_stopping(home: Path) -> None:
    ended = store.read_status(make_run(home, "a"))
    status = msgspec.structs.replace(ended, state="stopping", end_reason="finished")
    assert describe_state(status)[0] == "● ending"
    assert describe.describe_state(status) == "ending"
