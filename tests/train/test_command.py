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


SECRETS = """
    AWS_SESSION_TOKEN GITHUBTOKEN GH_TOKEN ACTIONS_ID_TOKEN_REQUEST_URL TQDM_SLACK_TOKEN my_token
    SSHPASS MYSQLPASS SMTP_PASSWORD DBPASSWD GPG_PASSPHRASE MYSQL_PWD REDISCLI_AUTH PGPASSFILE BYPASS_PASS
    SLACK_WEBHOOK_URL DISCORD_WEBHOOK TEAMSWEBHOOK DISCORD_HOOK_URL STRIPE_KEY API_KEY_2 OPENAI_API_KEY2
    APIKEY MYAPIKEY ACCESSKEY SSH_PRIVATE_KEY OAUTH_CLIENT_SECRET CLIENTSECRET AWS_CREDENTIAL_FILE
    AWS_CONTAINER_CREDENTIALS_RELATIVE_URI SENTRY_DSN MY_JWT SESSION_COOKIE AZURE_STORAGE_CONNECTION_STRING
    SQL_CONN_STR npm_config__authToken npm_config_registry NPM_CONFIG_USERCONFIG GIT_CONFIG_VALUE_0
    GIT_CONFIG_PARAMETERS APP_DATABASE_URL WANDB_API_KEY GITHUB_PAT DOCKER_AUTH_CONFIG
"""
HARMLESS = """
    TOKENIZERS_PARALLELISM RUN_CUSTOM_TOKENIZERS MY_TOKENIZER TOKENIZATION ACCELERATE_BYPASS_DEVICE_MAP COMPASS
    BYPASS PASSIVE PWD OLDPWD KEYBOARD MONKEY KEYMAP PATH XPATH PYTHONPATH PATTERN AUTHOR XDG_CONFIG_HOME
    HF_HUB_DISABLE_IMPLICIT_TOKEN HF_HOME PYTORCH_CUDA_ALLOC_CONF CUDA_CACHE_PATH KINETO_FORCE_STEP_HOOK
    SSLKEYLOGFILE AWS_REGION DSNAME HOTPLUG GIT_CONFIG_GLOBAL
"""


@pytest.mark.parametrize("name", SECRETS.split())
def test_secret_is_recognized_by_its_name(name: str) -> None:
    assert without_secrets({name: "x"}) == {}


@pytest.mark.parametrize("name", HARMLESS.split())
def test_similar_names_are_harmless(name: str) -> None:
    assert without_secrets({name: "x"}) == {name: "x"}


def test_addresses_with_a_password_are_secrets_unless_downloads_need_them() -> None:
    secrets = {
        "REDIS_URL": "redis://:pw@host/0", "PIP_INDEX_URL": "https://me:pw@pypi.example/simple",
        "MONGO": "mongodb+srv://me:pw@host",
    }  # fmt: skip
    harmless = {
        "HTTPS_PROXY": "http://me:pw@proxy:3128", "http_proxy": "http://me:pw@proxy",
        "HF_ENDPOINT": "https://me:pw@mirror", "PIP_FIND_LINKS": "https://pypi.example:8080/a@b",
        "GIT": "ssh://git@host:22/x", "WHEN": "12:30@noon",
    }  # fmt: skip
    assert without_secrets({**secrets, **harmless}) == harmless


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
