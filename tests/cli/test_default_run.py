"""Commands without a run: the one that they take, and what they say where there is none."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ftwizard.cli.parser import dispatch
from ftwizard.errors import FAILED
from ftwizard.jobs import lock
from ftwizard.jobs.events import EventWriter
from ftwizard.jobs.folder import JobFolder
from ftwizard.train import launcher
from tests.helpers.jobs import make


class Screens:
    """Records the route that a command opens."""

    def __init__(self) -> None:
        self.route: tuple[str, str] | None = None

    def __call__(self, route: tuple[str, str] | None, *_: Any, **__: Any) -> int:
        self.route = route
        return 0


@pytest.fixture
def live() -> Iterator[list[int]]:
    """Descriptors of the locks that make runs live."""
    descriptors: list[int] = []
    yield descriptors
    for descriptor in descriptors:
        os.close(descriptor)


def make_run(home: Path, name: str, *, age: float = 0.0, end: str | None = "finished") -> JobFolder:
    """Make a run without processes; ``end``: the reason it ended, None for one that was lost."""
    (home / "runs").mkdir(parents=True, exist_ok=True)
    folder = make(home / "runs" / name)
    if end:
        writer = EventWriter(folder.events, folder.newest_attempt())
        writer.write("done", end_reason=end)
        writer.close()
    os.utime(folder.job, (1e9 - age, 1e9 - age))
    return folder


def make_live(home: Path, name: str, live: list[int], *, age: float = 0.0) -> JobFolder:
    folder = make_run(home, name, age=age, end=None)
    descriptor = lock.take_exclusive(folder.lock)
    assert descriptor is not None
    live.append(descriptor)
    return folder


def run(*argv: str, screens: Screens | None = None) -> int:
    return dispatch(list(argv), screens or Screens())


@pytest.mark.parametrize("command", ["watch", "status", "stop", "resume", "diagnose", "compare"])
def test_without_any_run_the_next_step_is_named(
    command: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command) == FAILED
    text = capsys.readouterr()
    assert text.err == (
        "ftwizard: No runs yet.\n  Start one with: ftwizard FILE, or ftwizard demo\n"
    )
    assert text.out == ""


def test_status_shows_the_only_run_that_lives(
    home: Path, live: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    make_live(home, "old", live, age=90)
    make_run(home, "new")
    assert run("status", "--json") == 0
    text = capsys.readouterr()
    assert json.loads(text.out)["id"] == "old"
    assert text.err == "Run old: the only one running.\n"


def test_status_shows_the_newest_of_several_and_names_the_others(
    home: Path, live: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    for age, name in enumerate("abc"):
        make_live(home, name, live, age=age)
    assert run("status", "--json") == 0
    text = capsys.readouterr()
    assert json.loads(text.out)["id"] == "a"
    assert text.err == "Run a: the newest one running. Also running: b, c.\n"


def test_status_and_diagnosis_are_of_the_newest_where_none_lives(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(home, "old", age=9)
    make_run(home, "new", end="killed")
    assert run("status", "--json") == 0
    text = capsys.readouterr()
    assert json.loads(text.out)["id"] == "new"
    assert text.err == "Run new: the newest; none is running.\n"
    assert run("diagnose", "--json") == 0
    text = capsys.readouterr()
    assert "pattern" in json.loads(text.out)
    assert text.err == "Run new: the newest; none is running.\n"


def test_watch_follows_the_run_that_lives(
    home: Path, live: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ftwizard.cli.output.wants_screens", lambda _: True)
    folder = make_live(home, "one", live, age=5)
    make_run(home, "two")
    screens = Screens()
    assert run("watch", screens=screens) == 0
    assert screens.route == ("run", str(folder.path))
    assert capsys.readouterr().err == "Run one: the only one running.\n"


def test_stop_refuses_to_choose_between_several(
    home: Path, live: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    make_live(home, "one", live, age=1)
    make_live(home, "two", live)
    assert run("stop", "--json") == FAILED
    text = capsys.readouterr()
    assert text.err.splitlines()[0] == "ftwizard: 2 runs are running: two, one."
    assert json.loads(text.out)["error"]["candidates"] == ["two", "one"]
    for name in ("one", "two"):
        assert not list((home / "runs" / name / "requests").iterdir())


def test_stop_takes_no_run_that_has_ended(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(home, "one")
    assert run("stop") == FAILED
    text = capsys.readouterr().err
    assert "No run is running" in text and "ftwizard status one" in text


def test_resume_takes_the_newest_that_did_not_finish(
    home: Path,
    live: list[int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    resumed: list[str] = []

    def resume(folder: JobFolder, _: Any, **options: Any) -> Any:
        resumed.append(folder.id)
        raise KeyboardInterrupt  # nothing is started here

    monkeypatch.setattr(launcher, "resume", resume)
    make_run(home, "oldest", end="stopped", age=9)
    make_run(home, "older", end="killed", age=8)
    make_run(home, "refused", end="refused", age=4)
    make_run(home, "finished", end="finished", age=3)
    make_run(home, "early", end="early_stopped", age=2)
    make_live(home, "lives", live, age=1)
    run("resume")
    assert resumed == ["older"]
    assert (
        "Run older: the newest that can be resumed; it was killed. Also running: lives.\n"
        in capsys.readouterr().err
    )
    make_run(home, "lost", end=None)
    run("resume")
    assert resumed == ["older", "lost"]
    assert (
        "Run lost: the newest run; it was lost. Also running: lives.\n" in capsys.readouterr().err
    )


def test_resume_without_an_unfinished_run_says_so(
    home: Path, live: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(home, "one")
    assert run("resume") == FAILED
    assert "1 run is finished, refused or still running" in capsys.readouterr().err
    make_live(home, "two", live)
    assert run("resume") == FAILED
    assert "2 runs are all finished, refused or still running" in capsys.readouterr().err


def test_resume_of_the_only_run_while_it_lives_names_the_way_to_watch_it(
    home: Path, live: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    make_live(home, "one", live)
    assert run("resume") == FAILED
    assert capsys.readouterr().err == (
        "ftwizard: Run one is running already.\n  Watch it: ftwizard watch one\n"
    )


def test_comparison_is_of_the_two_newest(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(home, "a", age=3)
    assert run("compare") == FAILED
    assert "There is only one run, a," in capsys.readouterr().err
    for age, name in ((2, "b"), (1, "c")):
        plan = "data: {files: {train: r.jsonl}}\nmodel: {name: o/m}\n"
        make_run(home, name, age=age).plan.write_text(plan)
    assert run("compare", "--json") == 0
    text = capsys.readouterr()
    assert [side["id"] for side in json.loads(text.out)["runs"]] == ["b", "c"]
    assert text.err == "Runs b and c: the two newest.\n"


def test_unreadable_run_is_skipped(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(home, "well", age=1)
    broken = make_run(home, "broken", end=None)
    broken.events.unlink(missing_ok=True)
    broken.events.mkdir()
    assert run("status", "--json") == 0
    assert json.loads(capsys.readouterr().out)["id"] == "well"
