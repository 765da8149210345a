"""Environment of the commands that screens start: only the API keys that they need."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import ftwizard
from ftwizard.jobs.events import PROGRESS_FILE
from ftwizard.screens import subprocesses
from tests.helpers.hosted import make_ended, make_remote

KEYS = ("OPENAI_API_KEY", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "DATABASE_URL")
DOWNLOAD = ("HF_TOKEN", "HF_TOKEN_PATH")


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*KEYS, *DOWNLOAD):
        monkeypatch.setenv(name, "secret")


@pytest.mark.parametrize("name", ["check", "estimate", "stop", "advise"])
def test_analysis_command_gets_only_download_credentials(name: str) -> None:
    result = subprocesses.environment(name)
    assert not result.keys() & set(KEYS)
    assert result.keys() >= set(DOWNLOAD) and "PATH" in result
    assert PROGRESS_FILE not in result


@pytest.mark.parametrize("name", ["train", "resume", "doctor"])
def test_train_resume_and_doctor_get_all_api_keys(name: str) -> None:
    assert subprocesses.environment(name).keys() >= {*KEYS, *DOWNLOAD}


def test_subprocess_starts_with_the_filtered_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n")
    recorded: list[dict[str, str]] = []
    start: Any = subprocess.Popen

    def record(*arguments: Any, env: dict[str, str], **more: Any) -> Any:
        recorded.append(env)
        return start(*arguments, env=env, **more)

    monkeypatch.setattr(subprocess, "Popen", record)
    assert subprocesses.run_blocking("check", str(rows), tell=lambda _: None)["usable"] == 1
    assert (
        len(recorded) == 1 and PROGRESS_FILE in recorded[0] and not recorded[0].keys() & set(KEYS)
    )


def test_progress_variable_is_spelled_in_one_module() -> None:
    package = Path(str(ftwizard.__file__)).parent
    files = [*package.rglob("*.py"), *(package / "screens").rglob("*.py")]
    modules = {path.name for path in files if '"FTWIZARD_PROGRESS"' in path.read_text()}
    assert modules == {"events.py"}


@pytest.mark.parametrize(
    ("provider", "variable"),
    [("bedrock", "AWS_SECRET_ACCESS_KEY"), ("vertex", "GOOGLE_APPLICATION_CREDENTIALS")],
)
def test_a_question_to_a_platform_without_a_key_gets_what_its_sdk_logs_in_with(
    provider: str, variable: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_ended(home / "runs" / "one", make_remote(provider=provider))
    for name in (variable, "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_PROFILE", "work")
    asking = subprocesses.environment("eval", None, (str(folder.path),))
    assert asking[variable] == "x" and asking["AWS_PROFILE"] == "work"
    assert "OPENAI_API_KEY" not in asking
    assert variable not in subprocesses.environment("check")
