"""The file of a person's own settings: what is wrong in it is said before a run begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftwizard import config
from ftwizard.errors import FtwizardError


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


def test_without_a_file_nothing_is_run(tmp_path: Path) -> None:
    settings = config.load(tmp_path / "none.toml")
    assert settings.notify.command == ()
    assert settings.notify.terminal


def test_a_command_and_its_occasions(tmp_path: Path) -> None:
    text = '[notify]\ncommand = ["true", "a b"]\non = ["end"]\nterminal = false\n'
    notify = config.load(written(tmp_path, text)).notify
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
def test_what_is_wrong_is_said_with_what_is_right(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(FtwizardError) as caught:
        config.load(written(tmp_path, text))
    assert "config.toml" in caught.value.message
    assert says in f"{caught.value.message} {caught.value.hint}"
