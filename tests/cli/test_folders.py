"""Folders of ftwizard that cannot be used: every command and the app say so in two lines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ftwizard import locations
from ftwizard.cli.commands import COMMANDS, Argument
from ftwizard.cli.parser import dispatch
from ftwizard.errors import FAILED, FtwizardError
from ftwizard.runs import store
from tests.paths import ROOT

VARIABLES = ("FTWIZARD_HOME", "FTWIZARD_CACHE", "FTWIZARD_CONFIG")
FAULTS = ("file", "below a file", "dangling", "below a dangling link", "loop", "empty", "relative")


def complete_line(command: str, arguments: tuple[Argument, ...]) -> list[str]:
    line = [command]
    for name, options in arguments:
        is_option = name.startswith("-")
        if options.get("required") or (not is_option and options.get("nargs") not in ("?", "*")):
            line += [*([name] if is_option else []), options.get("choices", ["1"])[0]]
    return line


LINES = [
    *([], ["--plain"], ["rows.jsonl"]),
    *(complete_line(name, arguments) for name, _, _, arguments in COMMANDS),
]
"""A complete line for each command, and those that open the screens."""


def make_fault(fault: str, folder: Path) -> str:
    """Make a path that is not a folder; return it as the value of a variable."""
    file, link, loop = folder / "file", folder / "link", folder / "loop"
    file.touch()
    link.symlink_to(folder / "nowhere")
    loop.symlink_to(loop)
    values = (file, file / "a" / "b", link, link / "a", loop, "", "a/b")
    return str(dict(zip(FAULTS, values, strict=True))[fault])


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_command_refuses_an_unusable_folder(
    fault: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, make_fault(fault, tmp_path))
    before = sorted(tmp_path.rglob("*"))

    def open_screens(*_: object, **__: object) -> int:
        raise AssertionError("the screens are not opened")

    assert len(LINES) > 25
    for line in LINES:
        assert dispatch(line, open_screens) == FAILED, line
        error = capsys.readouterr().err.splitlines()
        assert len(error) == 2 and error[0].startswith(f"ftwizard: {variable}"), error
    assert sorted(tmp_path.rglob("*")) == before, "nothing is written"


@pytest.mark.parametrize("link", [False, True])
def test_runs_that_are_a_file_are_an_error(
    link: bool, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.mkdir()
    if link:
        (home / "runs").symlink_to(home / "nowhere")
    else:
        (home / "runs").touch()
    for line in LINES:
        assert dispatch(line, lambda *_, **__: 0) == FAILED
        assert f"{home / 'runs'} is a " in capsys.readouterr().err
    with pytest.raises(FtwizardError, match="is a "):
        store.list_runs()


def test_missing_folders_and_links_to_folders_are_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for variable, name in zip(VARIABLES, ("link", "link/new/deep", "new"), strict=True):
        monkeypatch.setenv(variable, str(tmp_path / name))
    locations.check_variables()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FTWIZARD_HOME", "~/real")
    locations.check_variables()
    assert locations.home_folder() == tmp_path / "real"


@pytest.mark.parametrize("locked", [".", "runs"])
def test_folder_without_rights_is_an_error(locked: str, tmp_path: Path) -> None:
    """As another user, because root may read everything."""
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    home = tmp_path / "home"
    (home / "runs").mkdir(parents=True)
    code = (
        "import os; os.setuid(65534); from ftwizard import locations; locations.check_variables()"
    )
    for level in (tmp_path, *tmp_path.parents):
        if level.stat().st_uid == os.geteuid() and level != Path("/"):
            level.chmod(level.stat().st_mode | 0o055)
    (home / locked).chmod(0o700)
    done = subprocess.run(
        [sys.executable, "-c", f"import ftwizard.locations, ftwizard.text\n{code}"],
        capture_output=True, text=True, check=False, cwd=ROOT,
        env={**os.environ, "FTWIZARD_HOME": str(home), "FTWIZARD_CONFIG": "/nowhere"},
    )  # fmt: skip
    assert "FTWIZARD_HOME: " in done.stderr and "could not be opened: Permission" in done.stderr
