"""Plain mode: the training as a script, at the last question."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftwizard.errors import FtwizardError
from ftwizard.plan import plan_file, schema
from ftwizard.plan.schema import Plan
from ftwizard.runs.ejected_script import EjectReport
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.plain import wizard
from ftwizard.screens.plain.prompts import BACK, UserQuit
from tests.helpers.machines import make_machine
from tests.screens.plain.scripted import Scripted

LAST = "Save the plan and start the run?"
FOLDER, GPU = "Folder of the script", "SkyPilot GPU (Enter: none)"


class Ejecting(Scripted):
    """Answers from a list, where ``ftwizard eject`` writes, or fails as often as told."""

    def __init__(self, *answers: str, failures: int = 0) -> None:
        super().__init__(*answers)
        self.failures = failures
        self.plans: list[Plan] = []
        self.asked: list[tuple[str, ...]] = []

    def run(self, title: str, *argv: str, **options: Any) -> Any:
        assert argv[0] == "eject" and Path(argv[1]).name == "one.yaml"
        self.plans.append(plan_file.parse(Path(argv[1]).read_text()))
        self.asked.append(argv[2:])
        if len(self.asked) <= self.failures:
            raise FtwizardError("No disk space is left.", "Name another folder.")
        report = EjectReport(
            origin="plan one.yaml", folder=argv[3], files={}, rows={"train.jsonl": 3},
            form="messages", versions={}, are_recorded=False, differing={}, left_out=(),
            task="sky launch -c ft-one task.yaml" if "--skypilot" in argv else None,
        )  # fmt: skip
        return msgspec.to_builtins(report)


@pytest.fixture
def draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Draft:
    monkeypatch.chdir(tmp_path)
    draft = Draft(make_machine()).with_plan(model=schema.Model(name="owner/m")).named("one")
    return draft.with_data(files=schema.Files(train="/data/rows.jsonl"))


def test_a_script_is_written_and_the_question_asked_again(
    draft: Draft, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompter = Ejecting("script", "", "H100", "leave")
    with pytest.raises(UserQuit):
        wizard._confirm(prompter, draft)
    assert prompter.questions == [LAST, FOLDER, GPU, LAST]
    folder = str(tmp_path / "one-script")
    assert prompter.asked == [("--out", folder, "--skypilot", "H100")]
    assert prompter.plans == [draft.final_plan]
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert ".venv/bin/python train.py" in lines and "sky launch -c ft-one task.yaml" in lines
    left = wizard._describe_leftovers([], prompter.written_files, is_kept=False)
    assert left == f"Nothing was started. New files: {folder}."


def test_what_is_refused_is_asked_again_with_the_answers(
    draft: Draft, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    prompter = Ejecting("script", "full", "new", "H100:0", "", "", "", "start", failures=1)
    assert wizard._confirm(prompter, draft) == draft
    not_empty, none = prompter.refused
    assert "is not empty" in not_empty and "does not name GPUs" in none
    assert prompter.asked == [("--out", str(tmp_path / "new"))] * 2
    assert "✗ No disk space is left." in capsys.readouterr().out


def test_back_leads_to_the_last_question(draft: Draft) -> None:
    prompter = Ejecting("script", BACK, "start")
    assert wizard._confirm(prompter, draft) == draft
    assert prompter.questions == [LAST, FOLDER, LAST] and not prompter.asked
