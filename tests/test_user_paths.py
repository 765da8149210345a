"""File names that users type: valid paths or clear errors."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from ftwizard import config, locations, user_paths
from ftwizard.cli.parser import dispatch
from ftwizard.data import reader
from ftwizard.data.hub import datasets, ids
from ftwizard.errors import FAILED, USAGE, FtwizardError
from ftwizard.hardware import machine
from ftwizard.models import hub, model_facts
from ftwizard.plan import plan_file
from ftwizard.runs import store

BAD = {
    "~nosuchuser/x": "home folder of user “nosuchuser” not found",
    "./a\0b": "a NUL character",
    "./" + "x" * 300: "too long for a file name",
    "/" + "x/" * 4000: "too long for a file name",
    "./\ud800": "a character that a file name cannot have",
}
each_bad_name = pytest.mark.parametrize(("name", "says"), BAD.items(), ids=range(len(BAD)))
IN_YAML = {name: says for name, says in BAD.items() if "\ud800" not in name}


@given(st.text() | st.text("~/.a\0\ud800", min_size=1))
def test_any_text_becomes_a_path_or_a_clear_error(name: str) -> None:
    for make in (user_paths.expand, user_paths.make_absolute):
        try:
            path = make(name)
        except FtwizardError as error:
            assert error.message.endswith(".") and "\0" not in error.message
        else:
            assert path.is_absolute() or make is user_paths.expand
            assert user_paths.exists(path) >= user_paths.is_folder(path)
    assert not (user_paths.is_folder(Path(name)) and not user_paths.exists(Path(name)))


def test_relative_names_resolve_against_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_paths.make_absolute("a/../b.jsonl", Path("/x")) == Path("/x/b.jsonl")
    assert user_paths.make_absolute("~/b.jsonl", Path("/x")) == tmp_path / "b.jsonl"
    assert user_paths.expand("~") == tmp_path


def test_deleted_working_folder_raises_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(FtwizardError, match="was deleted"):
        user_paths.make_absolute("rows.jsonl")
    assert user_paths.make_absolute("/rows.jsonl") == Path("/rows.jsonl")


@each_bad_name
@pytest.mark.parametrize(
    "use",
    [
        hub.locate,
        lambda name: reader.read_table(datasets.locate(name, print)[0]),
    ],
    ids=["model", "data"],
)
def test_invalid_file_name_raises_a_clear_error(
    name: str, says: str, use: Callable[[str], object]
) -> None:
    with pytest.raises(FtwizardError) as error:
        use(name)
    assert says in error.value.message and error.value.hint


@pytest.mark.parametrize(("name", "says"), IN_YAML.items(), ids=range(len(IN_YAML)))
@pytest.mark.parametrize("setting", ["data.files.train", "data.files.test", "model.name"])
def test_invalid_path_in_a_plan_names_the_setting(
    tmp_path: Path, name: str, says: str, setting: str
) -> None:
    files = {"train": "rows.jsonl"}
    model = {"name": "owner/model"}
    (model if setting == "model.name" else files)[setting.rpartition(".")[2]] = name
    path = tmp_path / "plan.yaml"
    path.write_text(json.dumps({"data": {"files": files}, "model": model}))
    with pytest.raises(FtwizardError) as error:
        plan_file.load(path)
    assert error.value.message.startswith(f"{setting}: ") and says in error.value.message


@each_bad_name
def test_readers_and_store_refuse_unchecked_invalid_paths(name: str, says: str) -> None:
    """Check paths that did not go through ``user_paths``."""
    for use in (plan_file.load, reader.read_table):
        with pytest.raises(FtwizardError):
            use(Path(name))
    with pytest.raises(FtwizardError, match="was not found"):
        store.find(name)


def test_long_hub_id_does_not_fail_as_a_file_name() -> None:
    hub_id = ids.parse(f"owner/name/{'c' * 190}:{'s' * 90}")
    assert hub_id is not None and hub_id.split == "s" * 90


@pytest.mark.parametrize("name", ["~nosuchuser/x", "/" + "x" * 300])
def test_invalid_path_in_a_variable_names_the_variable(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTWIZARD_HOME", name)
    with pytest.raises(FtwizardError, match=r"^FTWIZARD_HOME: "):
        locations.home_folder()
    monkeypatch.setenv("HF_HOME", name)
    with pytest.raises(FtwizardError, match=r"^HF_HOME: "):
        locations.hub_cache_folder()
    assert model_facts.list_known_models(), "the list works without the cache"
    assert machine.get_free_bytes(Path(name).absolute()) > 0


@pytest.fixture(params=["folder", "pipe", "device", "socket"])
def special(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Return a path whose reading would fail, block or never end."""
    path = tmp_path / f"{request.param}.json"
    with socket.socket(socket.AF_UNIX) as listening:
        if request.param == "folder":
            path.mkdir()
        elif request.param == "pipe":
            os.mkfifo(path)
        elif request.param == "device":
            path.symlink_to("/dev/zero")
        else:
            listening.bind(str(path))
        yield path


def test_only_files_are_read_whole(special: Path) -> None:
    with pytest.raises(FtwizardError, match=f"is a {special.stem}"):
        user_paths.read_bytes(special, 100)


@pytest.mark.parametrize("command", ["train", "estimate", "probe", "diagnose", "advise", ""])
def test_commands_do_not_wait_for_special_files(
    command: str, special: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dispatch([*filter(None, [command]), str(special)], lambda *_, **__: 0) in (FAILED, USAGE)
    shown = capsys.readouterr().err
    assert "Traceback" not in shown and 1 <= len(shown.splitlines()) <= 2, shown


@pytest.mark.parametrize("command", ["train", "estimate", "probe", ""])
def test_huge_plan_is_refused_by_its_size(
    command: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "plan.yaml"
    with file.open("wb") as stream:
        stream.write(b"data: {files: {train: a}}\n")
        stream.truncate(50_000_000)
    monkeypatch.setattr(YAML, "load", lambda *_: pytest.fail("it is parsed"))
    assert dispatch([*filter(None, [command]), str(file)], lambda *_, **__: 0) == FAILED
    shown = " ".join(capsys.readouterr().err.split())
    assert (
        f"{file} is too large: 50 MB; it may have 1 MB. Check that it is the right file." in shown
    )


def test_deeply_nested_settings_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("notify.command = " + "[" * 100 + "]" * 100)
    with pytest.raises(FtwizardError):
        config.load(file)
    file.write_text("notify." + "a." * 5000 + "b = 1\n")
    with pytest.raises(FtwizardError):
        config.load(file)


def test_huge_settings_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(b"#" * 1_000_001)
    with pytest.raises(FtwizardError, match="too large"):
        config.load(file)
    file.write_bytes(b"#" * 1_000_000)
    assert config.load(file) == config.Config()
