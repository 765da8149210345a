"""``ftwizard FILE``: words that mean files, what opens, and what is refused with the fix."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ftwizard.cli import output
from ftwizard.cli.parser import dispatch
from ftwizard.errors import FAILED, USAGE
from tests.helpers.jobs import make
from tests.screens.runs_helpers import make_run

ROW = json.dumps({"prompt": "a", "completion": "b"})
PLAN = "data: {files: {train: rows.jsonl}}\nmodel: {name: owner/name}\n"


class Screens:
    """Records what a command opens."""

    def __init__(self) -> None:
        self.opened: list[tuple[tuple[str, str] | None, bool]] = []

    def __call__(
        self, route: tuple[str, str] | None, ascii: bool, *, plain: bool = False, slow: bool = False
    ) -> int:
        self.opened.append((route, plain))
        return 0


@pytest.fixture
def folder(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working directory with data files, a plan and a folder."""
    here = tmp_path / "here"
    (here / "inner").mkdir(parents=True)
    for name in ("rows.jsonl", "held out.jsonl", "inner/more.csv"):
        (here / name).write_text(ROW)
    (here / "plan.yaml").write_text(PLAN)
    (here / "notes").write_text(ROW)
    monkeypatch.chdir(here)
    return here


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "has_terminal", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")


def open_all(*argv: str) -> list[tuple[tuple[str, str] | None, bool]]:
    screens = Screens()
    assert dispatch(list(argv), screens) == 0
    return screens.opened


@pytest.mark.usefixtures("terminal")
def test_files_open_the_wizard_with_absolute_names(folder: Path) -> None:
    rows, held_out = str(folder / "rows.jsonl"), str(folder / "held out.jsonl")
    assert open_all("rows.jsonl") == [(("file", rows), False)]
    assert open_all("--plain", "rows.jsonl") == [(("file", rows), True)]
    assert open_all("rows.jsonl", "--plain") == [(("file", rows), True)]
    assert open_all("notes") == [(("file", str(folder / "notes")), False)], "without an ending"
    pair = ("file", f"{rows}\0{held_out}")
    assert open_all("rows.jsonl", "held out.jsonl") == [(pair, False)]
    assert open_all("./plan.yaml") == [(("file", str(folder / "plan.yaml")), False)]
    assert open_all("owner/data") == [(("file", "owner/data"), False)], "on the Hub"


@pytest.mark.usefixtures("terminal")
def test_terminal_without_screens_gets_questions(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert open_all("rows.jsonl") == [(("file", str(folder / "rows.jsonl")), True)]
    assert "cannot show screens" in capsys.readouterr().out


@pytest.mark.usefixtures("terminal")
def test_folder_of_a_run_opens_its_monitor(folder: Path, home: Path) -> None:
    (home / "runs").mkdir(parents=True)
    job = make(home / "runs" / "one")
    name = os.path.relpath(job.path, folder)
    assert open_all(name) == [(("run", str(job.path)), False)]


def test_command_wins_over_a_file_of_its_name(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "runs").write_text(ROW)
    assert dispatch(["runs"], Screens()) == 0
    assert "No runs yet" in capsys.readouterr().out


REFUSALS = {
    "trian": (USAGE, "trian is not a command.", "Did you mean train?"),
    "rows.jsonl": (USAGE, "needs a terminal", "ftwizard check rows.jsonl, then ftwizard train"),
    "--plain rows.jsonl": (USAGE, "needs a terminal", "ftwizard check rows.jsonl"),
    "plan.yaml": (USAGE, "needs a terminal", "ftwizard train plan.yaml"),
    "owner/data": (USAGE, "needs a terminal", "ftwizard check owner/data"),
    "row.jsonl": (FAILED, "File row.jsonl does not exist.", "Did you mean rows.jsonl?"),
    "inner/mroe.csv": (
        FAILED,
        "File inner/mroe.csv does not exist.",
        "Did you mean inner/more.csv?",
    ),
    "zzz.parquet": (
        FAILED,
        "File zzz.parquet does not exist.",
        "There: held out.jsonl, plan.yaml,",
    ),
    "no/such/rows.jsonl": (
        FAILED,
        "File no/such/rows.jsonl does not exist.",
        "Folder no/such does not exist either",
    ),
    "inner": (FAILED, "inner is a folder.", "Name a file in it: more.csv"),
    "~nobody-here/x": (FAILED, "“nobody-here” not found", "Use an absolute path."),
    "rows.jsonl plan.yaml": (USAGE, "2 files are named", "join them into one"),
    "rows.jsonl notes inner/more.csv": (USAGE, "3 files are named", "join them into one"),
    "rows.jsonl --model M": (
        USAGE,
        "--model is not an option of the wizard",
        "ftwizard train rows",
    ),
    "rows.jsonl --target x": (USAGE, "--target is not an option", "ftwizard check rows.jsonl"),
    "rows.jsonl --plian": (USAGE, "has no option --plian", "Did you mean --plain?"),
}


@pytest.mark.parametrize("typed", REFUSALS)
def test_refusal_names_the_fix(
    typed: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, message, hint = REFUSALS[typed]
    screens = Screens()
    assert dispatch(typed.split(" "), screens) == code
    text = capsys.readouterr()
    first, second = text.err.rstrip("\n").split("\n")
    assert message in first and hint in second
    assert not screens.opened and text.out == ""


def test_json_names_the_command_that_has_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dispatch(["rows.jsonl", "--json"], Screens()) == USAGE
    error = json.loads(capsys.readouterr().out)["error"]
    assert "ftwizard check rows.jsonl --json" in error["hint"]


def test_diagnose_tells_a_missing_file_from_a_missing_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "trainer_state.json").write_text("{}")
    assert dispatch(["diagnose", "trainer_stat.json"], Screens()) == FAILED
    text = capsys.readouterr().err
    assert "File trainer_stat.json does not exist." in text
    assert "Did you mean trainer_state.json?" in text
    assert dispatch(["diagnose", "nothing"], Screens()) == FAILED
    assert "Run “nothing” was not found" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["file", "folder", "run"])
def test_diagnose_prefers_the_run_to_a_file_of_its_name(
    kind: str, folder: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(home, "mine", steps=40)
    here = folder / "mine"
    if kind == "file":
        here.write_text("step,loss\n1,2.0\n")
    elif kind == "folder":
        here.mkdir()
    else:
        here.symlink_to(make_run(folder / "copies", "mine", steps=9).path)
    assert dispatch(["diagnose", "mine"], Screens()) == 0
    shown = capsys.readouterr()
    assert "up to step 40" in shown.out
    other = "folder" if kind == "run" else kind
    assert shown.err == (
        f"Run mine, not the {other} of that name. To take that: ftwizard diagnose ./mine\n"
    )
    code = dispatch(["diagnose", "./mine"], Screens())
    shown = capsys.readouterr()
    assert code == (FAILED if kind == "folder" else 0)
    assert {"file": "up to step 1", "folder": "", "run": "up to step 9"}[kind] in shown.out


def test_diagnose_in_the_folder_of_runs_says_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(make_run(home, "mine").path.parent)
    assert dispatch(["diagnose", "mine"], Screens()) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("terminal")
def test_broken_plan_and_model_folder_are_refused_before_any_screen(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "plan.yaml").write_text(PLAN + "recipe: {epocs: 3}\n")
    (folder / "inner" / "config.json").write_text("{}")
    screens: Any = Screens()
    assert dispatch(["plan.yaml"], screens) == FAILED
    assert "recipe.epocs" in capsys.readouterr().err
    assert dispatch(["inner"], screens) == FAILED
    assert "ftwizard train DATA --model inner" in capsys.readouterr().err
    assert not screens.opened


@pytest.mark.parametrize(
    "typed",
    [
        "check {0}/rosw.jsonl",
        "check {0}/rows.jsonl --val {0}/rosw.jsonl",
        "show {0}/rosw.jsonl --line 1",
        "columns {0}/rosw.jsonl",
        "advise {0}/rosw.jsonl",
        "estimate {0}/rosw.jsonl --model gpt-4.1-mini",
        "train {0}/rosw.jsonl --model owner/name",
    ],
)
def test_every_command_offers_the_nearest_file(
    typed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    assert dispatch(typed.format(tmp_path).split(" "), Screens()) == 1
    assert f"\n  Did you mean {tmp_path}/rows.jsonl?\n" in capsys.readouterr().err


def test_nearest_plan_is_offered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tickets.yaml").write_text("")
    for command in ("train", "estimate", "probe"):
        assert dispatch([command, f"{tmp_path}/tikets.yaml"], Screens()) == 1
        assert f"\n  Did you mean {tmp_path}/tickets.yaml?\n" in capsys.readouterr().err
