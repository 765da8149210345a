"""The training process: visible GPU, environment and imports."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ftwizard.credentials import without_secrets
from ftwizard.errors import USAGE, FtwizardError, MissingExtra
from ftwizard.jobs import launch
from ftwizard.plan import plan_file
from ftwizard.train import command

MINIMAL = "data: {files: {train: a}}\nmodel: {name: b/c}\n"


@pytest.mark.parametrize(
    ("more", "visible", "gpu"),
    [
        ("", None, "0"),
        ("", "2,3", "2"),
        ("", "", ""),
        ("where: {gpu: 1}\n", None, "1"),
        ("where: {gpu: 1}\n", "2,3", "3"),
    ],
)
def test_training_process_sees_at_most_one_gpu(more: str, visible: str | None, gpu: str) -> None:
    base = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    environment = command.build_environment(plan_file.parse(MINIMAL + more), base)
    assert environment["CUDA_VISIBLE_DEVICES"] == gpu


def test_gpu_outside_cuda_visible_devices_is_refused() -> None:
    for visible in ("2,3", ""):
        with pytest.raises(FtwizardError, match=r"where\.gpu is 2"):
            command.build_environment(
                plan_file.parse(MINIMAL + "where: {gpu: 2}\n"), {"CUDA_VISIBLE_DEVICES": visible}
            )


def test_environment_keeps_only_the_needed_secrets() -> None:
    names = (
        "PATH", "HF_TOKEN", "TOKENIZERS_PARALLELISM", "KEYBOARD", "XDG_DATA_HOME", "MONKEY",
        "WANDB_API_KEY", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID",
        "TOGETHER_API_KEY", "DB_PASSWORD", "GOOGLE_APPLICATION_CREDENTIALS",
        "AWS_BEARER_TOKEN_BEDROCK", "AZURE_OPENAI_KEY", "STRIPE_SECRET_KEY", "SECRET_KEY",
        "GITHUB_PAT", "PGPASSWORD", "DB_PASS", "TOKEN", "DATABASE_URL",
    )  # fmt: skip
    base = dict.fromkeys(names, "x")
    plain = command.build_environment(plan_file.parse(MINIMAL), base)
    kept = {"PATH", "HF_TOKEN", "TOKENIZERS_PARALLELISM", "KEYBOARD", "XDG_DATA_HOME", "MONKEY"}
    assert kept == set(plain) & set(base)
    assert not {
        n for n in plain if "KEY_ID" in n or "API_KEY" in n or "PASSWORD" in n or "CRED" in n
    }
    watched = command.build_environment(plan_file.parse(MINIMAL + "report_to: [wandb]\n"), base)
    assert "WANDB_API_KEY" in watched and "OPENAI_API_KEY" not in watched
    assert without_secrets({"MY_TOKEN": "x"}, keep=["MY_TOKEN"]) == {"MY_TOKEN": "x"}


def test_environment_sets_a_default_gomp_spincount() -> None:
    item = plan_file.parse(MINIMAL)
    assert command.build_environment(item, {})["GOMP_SPINCOUNT"] == "1000"
    assert command.build_environment(item, {"GOMP_SPINCOUNT": "7"})["GOMP_SPINCOUNT"] == "7"


def test_missing_reporter_raises_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "is_installed", lambda name: name != "wandb")
    with pytest.raises(MissingExtra) as error:
        command.check_installed(plan_file.parse(MINIMAL + "report_to: [wandb]\n"))
    assert error.value.exit_code == USAGE and "wandb" in error.value.hint


def test_modules_in_the_working_folder_are_not_imported(tmp_path: Path) -> None:
    for name in ("datasets", "ftwizard", "json"):
        (tmp_path / f"{name}.py").write_text(
            "raise SystemExit('the user has a module of this name')"
        )
    code = "import json, datasets.arrow_dataset, ftwizard.jobs.keeper"
    subprocess.run(
        [*launch.get_python_command(), "-c", code],
        cwd=tmp_path,
        check=True,
        env=launch.with_import_path({}),
    )
