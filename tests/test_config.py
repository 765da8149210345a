"""The user's config file, and errors in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftwizard import config
from ftwizard.errors import FtwizardError


def write_config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


def test_missing_config_file_gives_the_defaults(tmp_path: Path) -> None:
    settings = config.load(tmp_path / "none.toml")
    assert settings.notify.command == ()
    assert settings.notify.terminal


def test_notify_settings_are_loaded(tmp_path: Path) -> None:
    text = '[notify]\ncommand = ["true", "a b"]\non = ["end"]\nterminal = false\n'
    notify = config.load(write_config(tmp_path, text)).notify
    assert notify.command == ("true", "a b")
    assert notify.on == ("end",)
    assert not notify.terminal


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[notify]\ncomand = ["true"]', "notify.command"),
        ('[notfy]\ncommand = ["true"]', "Did you mean notify?"),
        ('[notify]\non = ["ends"]', "One of: end, finding, failure."),
        ('[notify]\ncommand = "true"', "a list"),
        ('[notify]\ncommand = ["no-such-program-here"]', "not found"),
        ('[notify]\ncommand = ["./mine"]', "absolute path"),
        ('[notify]\ncommand = [""]', "not found"),
        ('[notify]\ntimeout_s = 0', "600"),
        ('[notify\n', "line 1"),
        ('[notify]\ncommand = ["a\\u0000"]', "NUL"),
    ],
)  # fmt: skip
def test_invalid_setting_error_suggests_a_fix(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(FtwizardError) as caught:
        config.load(write_config(tmp_path, text))
    assert "config.toml" in caught.value.message
    assert says in f"{caught.value.message} {caught.value.hint}"
