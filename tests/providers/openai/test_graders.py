"""Graders at OpenAI: their check and a dry run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openai.types.graders import PythonGrader

from ftwizard.errors import DECLINED, FtwizardError
from ftwizard.plan.schema import OpenAI, Plan
from ftwizard.providers.base import ProviderError
from ftwizard.providers.openai.graders import dry_run_grader, get_grader, load_grader, try_here
from ftwizard.providers.openai.platform import OpenAIPlatform
from tests.providers.openai.script import (
    GRADER,
    make_error,
    make_page,
    make_plan,
    make_reinforcement,
)
from tests.providers.scripted_service import ScriptedService


def test_a_grader_that_the_platform_rejects_is_refused(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    service.on("GET /models/o4-mini-2025-04-16", {"id": "o4-mini-2025-04-16"})
    service.on("GET /fine_tuning/jobs", make_page([]))
    route = "POST /fine_tuning/alpha/graders/validate"
    service.on(route, make_error(400, "invalid_grader", "unknown operation", "grader"))

    with pytest.raises(ProviderError) as failure:
        platform.check_plan(make_reinforcement())

    assert "unknown operation" in failure.value.message
    assert "openai.grader" in failure.value.hint
    assert service.requests[-1].json == {"grader": GRADER}


def make_rewards(reward: float, **errors: bool) -> dict[str, Any]:
    metadata = {"errors": errors, "execution_time": 0.1, "name": "exact", "scores": {}, "type": "t"}
    return {"reward": reward, "metadata": metadata, "sub_rewards": {}}


RUN = "POST /fine_tuning/alpha/graders/run"
SCORES = [*[make_rewards(1.0)] * 10, make_rewards(0.0)]
"""The right answers score 1, then wrong ones 0."""


def list_answers(service: ScriptedService) -> list[str]:
    return [request.json["model_sample"] for request in service.requests]


def test_a_dry_run_grades_ten_rows_with_their_own_references(
    service: ScriptedService, platform: OpenAIPlatform, tmp_path: Path
) -> None:
    rows = [{"messages": [{"role": "user", "content": "?"}], "answer": str(i)} for i in range(12)]
    path = tmp_path / "train.jsonl"
    path.write_text("\ufeff" + "".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    service.on(RUN, *SCORES)
    plan = make_reinforcement()

    tried = dry_run_grader(platform, plan, plan.openai, path)

    assert tried == ("10 rows tried: right answers scored 1, wrong ones 0", [])
    assert list_answers(service) == [*"0123456789", *"1000000000"]
    assert service.requests[0].json["item"] == rows[0]


def test_a_dry_run_tells_rewards_of_0_and_failing_rows(
    service: ScriptedService, platform: OpenAIPlatform, tmp_path: Path
) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"messages": [], "answer": {"a": 1}}\n' * 3)
    failing = make_rewards(0.0, sample_parse_error=True, other_error=False)
    service.on(RUN, failing, make_rewards(0.0))
    plan = make_reinforcement()
    allowing = msgspec.structs.replace(plan, allow=("weak-grader",))

    cautions = dry_run_grader(platform, allowing, plan.openai, path).cautions

    assert "1 of 3 rows: sample parse error" in cautions[0]
    assert "All 2 right answers scored 0" in cautions[1]

    service.on(RUN, failing)
    with pytest.raises(ProviderError, match="all of 3 rows: sample parse error"):
        dry_run_grader(platform, allowing, plan.openai, path)


def test_a_platform_whose_grader_tells_nothing_apart_gets_no_job(
    service: ScriptedService, platform: OpenAIPlatform, tmp_path: Path
) -> None:
    service.on(RUN, make_rewards(0.5))
    plan = make_reinforcement()
    with pytest.raises(FtwizardError, match=r"All answers scored 0\.5") as failure:
        dry_run_grader(platform, plan, plan.openai, write_upload(tmp_path))
    assert failure.value.exit_code == DECLINED and "--allow weak-grader" in failure.value.hint


PYTHON = """\
def grade(sample, item) -> float:
    return float(sample["output_text"] == item["answer"])
"""


def make_python_plan(folder: Path, source: str = PYTHON) -> Plan:
    (folder / "exact.py").write_text(source)
    settings = OpenAI(method="reinforcement", grader=str(folder / "exact.py"))
    return make_plan(settings, "o4-mini")


def write_upload(folder: Path) -> Path:
    path = folder / "train.jsonl"
    rows = [{"messages": [], "id": "a", "answer": str(number)} for number in range(12)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_python_file_is_sent_as_the_source_of_a_python_grader(
    service: ScriptedService, platform: OpenAIPlatform, tmp_path: Path
) -> None:
    grader = load_grader(str(tmp_path / "exact.py")) if make_python_plan(tmp_path) else {}
    PythonGrader.model_validate(grader, strict=True)
    service.on(RUN, *SCORES)
    plan, path = make_python_plan(tmp_path), write_upload(tmp_path)

    assert "exact.py grades 10 rows on this machine, without your keys, then at OpenAI" in (
        platform.describe_trial(plan)
    )
    assert service.requests == []
    assert platform.try_grader(plan, path)[1] == []

    assert grader == {"type": "python", "name": "exact", "source": PYTHON}
    assert list_answers(service) == [*"0123456789", *"1000000000"]
    assert service.requests[0].json["grader"] == grader


def test_a_python_grader_that_fails_here_is_refused_before_a_row_is_sent(
    service: ScriptedService, platform: OpenAIPlatform, tmp_path: Path
) -> None:
    plan = make_python_plan(tmp_path, PYTHON.replace("answer", "none"))

    with pytest.raises(ProviderError, match=r"KeyError: 'none' \(exact.py, line 2\)") as failure:
        platform.try_grader(plan, write_upload(tmp_path))

    assert "ftwizard grader try" in failure.value.hint
    assert service.requests == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("1.0", "All answers scored 1"),
        ("0.0", "All 10 right answers scored 0"),
        (
            'float(sample["output_text"] in "0123" and item["answer"] != "")',
            "as high as the right one",
        ),
    ],
)
def test_a_python_grader_that_tells_nothing_apart_is_refused_unless_allowed(
    platform: OpenAIPlatform, tmp_path: Path, body: str, words: str
) -> None:
    plan = make_python_plan(tmp_path, f"def grade(sample, item):\n    return {body}\n")
    path = write_upload(tmp_path)

    with pytest.raises(FtwizardError, match=words) as failure:
        platform.try_grader(plan, path)

    assert failure.value.exit_code == DECLINED
    assert "ftwizard grader try" in failure.value.hint
    allowing = msgspec.structs.replace(plan, allow=("weak-grader",))
    assert words in try_here(allowing, allowing.openai, path).cautions[0]


def test_a_file_that_is_no_grader_is_refused_with_the_template(tmp_path: Path) -> None:
    plan = make_python_plan(tmp_path, "x = 1\n")

    with pytest.raises(ProviderError, match="has no function grade") as failure:
        get_grader(plan.openai, "openai")

    assert "ftwizard grader new" in failure.value.hint


def test_the_fields_of_source_in_an_object_are_read(
    service: ScriptedService, platform: OpenAIPlatform, tmp_path: Path
) -> None:
    grader = {"type": "python", "name": "exact", "source": PYTHON}
    settings = OpenAI(method="reinforcement", grader=grader)
    service.on(RUN, make_rewards(1.0), make_rewards(0.0))

    dry_run_grader(platform, make_plan(settings, "o4-mini"), settings, write_upload(tmp_path), 1)

    assert service.requests[0].json["model_sample"] == "0"
