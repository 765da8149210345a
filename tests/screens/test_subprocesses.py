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
