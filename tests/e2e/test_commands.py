"""Command-line errors, exit codes, run commands and imports."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder
from tests.e2e.cli import FTWIZARD, as_json, ok, run
from tests.helpers.jobs import events, keeper_pid, make, start, until_ended, until_step
from tests.paths import FIXTURES, ROOT

ROWS = FIXTURES / "tool_use.jsonl"


def plan(
    folder: Path, *, data: str | None = None, model: str = "owner/none", more: str = ""
) -> Path:
    if data is None:
        shutil.copy(ROWS, folder / "rows.jsonl")
        data = "rows.jsonl"
    path = folder / "plan.yaml"
    path.write_text(f"data:\n  files: {{train: {data}}}\nmodel: {{name: {model}}}\n{more}")
    return path


def refused(
    *arguments: object, code: int, says: str, environment: dict[str, str] | None = None
) -> None:
    done = run(*arguments, environment=environment)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert 1 <= len(done.stderr.strip().splitlines()) <= 2, done.stderr
    assert done.stdout == ""


def test_help_lists_all_commands_and_version_prints() -> None:
    text = ok("--help")
    for command in (
        "advise", "demo", "split", "train", "runs", "status", "watch", "stop", "resume"
    ):  # fmt: skip
        assert command in text
        assert command in ok(command, "--help")
    assert ok("--version").startswith("ftwizard ")


def test_usage_errors_exit_with_code_2() -> None:
    for arguments in ((), ("nothing",), ("train",), ("stop", "--fast", "x")):
        assert run(*arguments).returncode == 2


def test_train_reports_a_missing_plan(tmp_path: Path) -> None:
    refused("train", tmp_path / "none.yaml", code=1, says="none.yaml does not exist")


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b"\xff\xfe\x00", "UTF-16"),
        (b'{"messages": [{"role": "user"', "1 of 1 row"),
    ],
)
def test_train_reports_unusable_data_files(tmp_path: Path, rows: bytes | None, says: str) -> None:
    if rows is not None:
        (tmp_path / "bad.jsonl").write_bytes(rows)
    refused("train", plan(tmp_path, data="bad.jsonl"), code=1, says=says)


def test_broken_rows_are_listed_and_the_file_is_unchanged(tmp_path: Path, home: Path) -> None:
    lines = ROWS.read_text().splitlines()
    lines[4] = lines[4][:50]
    lines[9] = '{"messages": 3}'
    broken = tmp_path / "rows.jsonl"
    broken.write_text("\n".join(lines))
    before = broken.read_bytes()
    path = plan(tmp_path, data="rows.jsonl")
    refused("train", path, code=1, says="2 of 96 rows")
    refused("train", path, code=1, says="line 5")
    assert broken.read_bytes() == before
    assert not (home / "runs").exists()
    refused(
        "train", path, "--allow", "skip-bad-rows", code=1, says="Model owner/none was not found"
    )


def test_split_ignores_row_order_and_never_overwrites(
    tmp_path: Path,
) -> None:
    rows = ROWS.read_bytes().splitlines(keepends=True)
    (tmp_path / "rows.jsonl").write_bytes(b"".join(rows))
    (tmp_path / "turned.jsonl").write_bytes(b"".join(rows[::-1]))
    parts = {}
    for name in ("rows", "turned"):
        out = [tmp_path / f"{name}.{part}.jsonl" for part in ("train", "validation")]
        options = ("--out-train", out[0], "--out-validation", out[1], "--validation", "0.25")
        document = as_json("split", tmp_path / f"{name}.jsonl", *options)
        assert (document["train"]["rows"], document["validation"]["rows"]) == (72, 24)
        assert (document["rows"], document["groups"], document["shared_prompts"]) == (96, 96, 0)
        parts[name] = [path.read_bytes().splitlines(keepends=True) for path in out]
        before = out[0].read_bytes()
        refused("split", tmp_path / "rows.jsonl", *options, code=1, says="already exists")
        assert out[0].read_bytes() == before
    for there, back in zip(parts["rows"], parts["turned"], strict=True):
        assert there == back[::-1] and there == [row for row in rows if row in there]
    (tmp_path / "bad.jsonl").write_bytes(b"{\n")
    new = ("--out-train", tmp_path / "c", "--out-validation", tmp_path / "d")
    refused("split", tmp_path / "bad.jsonl", *new, code=1, says="the JSON is truncated")
    refused("split", tmp_path / "none.jsonl", *new, code=1, says="does not exist")
    refused("split", tmp_path, *new, code=1, says="is a folder")
    assert not (tmp_path / "c").exists() and not (tmp_path / "d").exists()


def test_train_reports_a_missing_model(tmp_path: Path) -> None:
    refused("train", plan(tmp_path), code=1, says="Model owner/none was not found")
    refused("train", plan(tmp_path, model="/nowhere/at/all"), code=1, says="does not exist")
    (tmp_path / "empty").mkdir()
    refused(
        "train", plan(tmp_path, model="./empty"), code=1, says="is not a model folder: config.json"
    )
    refused("train", plan(tmp_path, model="'a b'"), code=1, says="is neither")


@pytest.mark.parametrize("command", ["estimate", "mask", "train"])
def test_truncated_weights_are_refused_before_a_start(
    command: str, tmp_path: Path, model_shell: Path, home: Path
) -> None:
    weights = model_shell / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    subject: list[object] = [ROWS, "--model", model_shell]
    if command != "mask":
        subject = [plan(tmp_path, data=str(ROWS), model=str(model_shell))]
    refused(command, *subject, code=1, says=f"{weights} is incomplete: 1 B of 10 B is missing.")
    assert not (home / "runs").exists()


def test_train_reports_plan_mistakes(tmp_path: Path) -> None:
    refused("train", plan(tmp_path, more="recipe: {epocs: 3}\n"), code=1, says="recipe.epocs")
    refused(
        "train", plan(tmp_path, more="recipe: {epochs: [3]}\n"), code=1, says="expected a number"
    )
    refused("train", plan(tmp_path, more="recipe: {epochs: 9}\n"), code=3, says="9 epochs")
    refused("train", plan(tmp_path, more="recipe: {seed: -1}\n"), code=1, says="recipe.seed")
    refused("train", plan(tmp_path, data='"a\\0b"'), code=1, says="NUL")
    refused("train", plan(tmp_path), "--allow", "much", code=2, says="Unknown risk")
    refused("train", plan(tmp_path), "--name", "../evil", code=2, says="is not a valid run name")


def test_train_reports_an_unwritable_home(tmp_path: Path, model_shell: Path) -> None:
    path = plan(tmp_path, model=str(model_shell))
    homes = {"/proc/ftwizard": "Could not write", "/dev/null/home": "/dev/null is a file"}
    for home, reason in homes.items():
        refused("train", path, code=1, says=reason, environment={"FTWIZARD_HOME": home})


@pytest.fixture
def model_shell(tmp_path: Path) -> Path:
    """Return a folder that passes for a model folder but has no weights."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer_config.json"):
        (folder / name).write_text("{}")
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return folder


def test_control_characters_in_arguments_are_escaped(tmp_path: Path) -> None:
    done = run("train", tmp_path / "\x1b]0;owned\x07\x1b[2J.yaml")
    assert done.returncode == 1 and "\x1b" not in done.stderr
    done = run("status", "\x1b[2J")
    assert done.returncode == 1 and "\x1b" not in done.stderr


def test_run_folders_with_control_characters_are_ignored(home: Path) -> None:
    until_ended(start_run(home, "good", steps=1))
    evil = home / "runs" / "\x1b]0;owned\x07"
    evil.mkdir()
    (evil / "job.json").write_text("{}")
    assert "\x1b" not in ok("runs")
    assert [r["id"] for r in as_json("runs")["runs"]] == ["good"]


def test_control_characters_from_a_worker_are_escaped(home: Path) -> None:
    folder = start_run(home, "evil", steps=1)
    until_ended(folder)
    from ftwizard.jobs.events import EventWriter

    writer = EventWriter(folder.events, 1)
    writer.write("phase", phase="\x1b[2Jpwn", what="\x1b]52;c;aGk=\x07")
    writer.write("finding", message="\x9b31m\x1b[2J")
    writer.write("done", end_reason="crashed", message="\x1b[2J")
    writer.close()
    for command in ("status", "watch", "runs"):
        done = run(command, *(["evil"] if command != "runs" else []))
        assert "\x1b" not in done.stdout and "\x9b" not in done.stdout


def test_ascii_output_encoding_causes_no_error(home: Path) -> None:
    until_ended(start_run(home, "one", steps=1))
    for arguments in (("--help",), ("status", "one"), ("runs",), ("watch", "one")):
        ok(*arguments, environment={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"})


def test_damaged_runs_do_not_break_the_run_list(home: Path) -> None:
    for name in ("one", "two"):
        until_ended(start_run(home, name, steps=1))
    (home / "runs" / "one" / "state.json").write_text('{"state": 3')
    with (home / "runs" / "two" / "events.jsonl").open("ab") as file:
        file.write(b'{"v":1,"t":1,"kind":"done","attempt":1}\n')
    assert len(as_json("runs")["runs"]) == 2
    ok("runs")


def test_private_folders_deny_access_to_other_users(home: Path, tmp_path: Path) -> None:
    from ftwizard.locations import create_private_folder

    create_private_folder(tmp_path / "a" / "b" / "c")
    for level in ("a", "a/b", "a/b/c"):
        assert (tmp_path / level).stat().st_mode & 0o077 == 0
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    create_private_folder(tmp_path / "open")
    assert (tmp_path / "open").stat().st_mode & 0o777 == 0o700
    if os.geteuid() == 0:
        os.chown(tmp_path / "open", 12345, 12345)
        with pytest.raises(FtwizardError, match="another user"):
            create_private_folder(tmp_path / "open")


def test_unknown_run_name_suggests_existing_runs(home: Path) -> None:
    for command in ("status", "watch", "stop", "resume"):
        refused(command, "nothing", code=1, says="Run “nothing” was not found")
    start_run(home, "tickets-1", steps=3)
    refused("status", "tickest-1", code=1, says="Did you mean tickets-1?")
    assert as_json("status", "tick")["id"] == "tickets-1"
    start_run(home, "tickets-2", steps=3)
    refused("status", "tick", code=1, says="matches 2 runs")


def test_json_error_is_a_single_document() -> None:
    done = run("status", "nothing", "--json")
    assert done.returncode == 1
    assert "was not found" in json.loads(done.stdout)["error"]["message"]


def start_run(home: Path, name: str, **inputs: object) -> JobFolder:
    (home / "runs").mkdir(parents=True, exist_ok=True)
    return start(make(home / "runs" / name, **inputs))


def test_runs_without_any_run_is_empty() -> None:
    assert "No runs yet" in ok("runs")
    assert as_json("runs") == {"runs": []}


def test_runs_and_status_show_a_running_job(home: Path) -> None:
    folder = start_run(home, "one", steps=5000)
    until_step(folder, 3)
    document = as_json("status", "one")
    assert (
        document["state"] == "running" and document["step"] >= 3 and document["end_reason"] is None
    )
    assert set(document) == {
        "id", "state", "end_reason", "attempt", "phase", "step", "total_steps", "epoch", "loss",
        "eval_loss", "best_step", "best_eval_loss", "tokens_per_s", "eta_s", "started",
        "updated", "age_s", "silent_s", "heartbeat_age_s", "troubles", "folder",
    }  # fmt: skip
    assert [r["id"] for r in as_json("runs")["runs"]] == ["one"]
    assert "one" in ok("runs")
    assert "loss" in ok("status", "one")
    ok("stop", "one")
    assert as_json("status", "one")["end_reason"] == "stopped"


def test_stop_waits_until_all_processes_ended(home: Path) -> None:
    folder = start_run(home, "one", steps=5000)
    until_step(folder, 3)
    assert "was stopped" in ok("stop", "one")
    from ftwizard.jobs import lock

    assert not lock.is_held(folder.lock)
    assert "was stopped" in ok("stop", "one"), "stopping an ended run changes nothing"


@pytest.mark.slow
def test_stop_with_kill_kills_a_deaf_run(home: Path) -> None:
    folder = start_run(home, "one", steps=5000, mode="deaf")
    until_step(folder, 3)
    first = subprocess.Popen([str(FTWIZARD), "stop", "one"], stderr=subprocess.PIPE, text=True)
    assert first.stderr and "ftwizard stop one --kill" in first.stderr.readline()
    assert "killed" in ok("stop", "one", "--kill")
    assert first.wait(30) == 0
    first.stderr.close()


def test_stop_works_without_a_keeper(home: Path) -> None:
    folder = start_run(home, "one", steps=5000)
    until_step(folder, 3)
    os.kill(keeper_pid(folder), signal.SIGKILL)
    assert "was stopped" in ok("stop", "one")
    assert events(folder, "checkpoint")[-1]["step"] == events(folder, "log")[-1]["step"]


def test_resume_refuses_a_finished_run(home: Path) -> None:
    folder = start_run(home, "one", steps=3)
    until_ended(folder)
    refused("resume", "one", code=1, says="has finished")


def test_resume_refuses_a_running_run(home: Path) -> None:
    folder = start_run(home, "one", steps=5000)
    until_step(folder, 1)
    refused("resume", "one", code=1, says="is already running")


def test_stop_without_a_name_stops_the_only_run_that_lives(home: Path) -> None:
    for name in ("one", "two"):
        until_step(start_run(home, name, steps=5000), 1)
    refused("stop", code=1, says="2 runs are running: two, one.")
    ok("stop", "two")
    done = run("stop", "--json")
    assert json.loads(done.stdout)["id"] == "one" and done.returncode == 0
    assert done.stderr.startswith("Run one: the only one running.\n")
    assert [r["state"] for r in as_json("runs")["runs"]] == ["ended", "ended"]


def test_watch_exit_code_reflects_the_end_reason(home: Path) -> None:
    start_run(home, "good", steps=30)
    assert "Run good finished" in ok("watch", "good")
    start_run(home, "bad", mode="crash")
    done = run("watch", "bad")
    assert done.returncode == 1
    assert "crashed" in done.stdout and "made up" in done.stdout
    start_run(home, "no", mode="refuse")
    done = run("watch", "no")
    assert done.returncode == 3 and "Give it answers." in done.stdout
    start_run(home, "json", steps=10)
    assert as_json("watch", "json")["end_reason"] == "finished"


def test_closed_output_pipe_is_not_an_error(home: Path) -> None:
    for name in ("a", "b"):
        until_ended(start_run(home, name, steps=2))
    done = subprocess.run(
        f"{FTWIZARD} runs | true; exit ${{PIPESTATUS[0]}}",
        shell=True, check=False, executable="/bin/bash", capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_demo_without_a_terminal_requires_yes() -> None:
    done = run("demo")
    assert done.returncode == 2
    assert "ftwizard demo --yes" in done.stderr


def test_declined_demo_starts_nothing(home: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(FTWIZARD, ["ftwizard", "demo", "--plain"])
    recorded = b""
    while b"[Y/n]" not in recorded:
        recorded += os.read(terminal, 1000)
    os.write(terminal, b"n\n")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 3
    assert not (home / "runs").exists()


def test_run_commands_import_no_heavy_modules(home: Path) -> None:
    until_ended(start_run(home, "one", steps=2))
    code = """
import sys
from ftwizard.__main__ import main
for argv in (["runs", "--json"], ["status", "one", "--json"], ["watch", "one", "--json"]):
    assert main(argv) == 0
heavy = {"torch", "transformers", "trl", "peft", "datasets", "accelerate", "bitsandbytes", "numpy",
         "textual", "questionary", "openai", "together", "boto3", "google"}
import ftwizard.cli.train, ftwizard.cli.demo, ftwizard.cli.stop, ftwizard.train.checkpoint_rotation
found = heavy & set(sys.modules)
assert not found, found
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_help_does_not_import_the_plan_schema() -> None:
    code = """
import sys
from ftwizard.cli import parser
parser.parser().format_help()
found = {"msgspec", "rich", "ruamel", "psutil", "ftwizard.plan.schema"} & set(sys.modules)
assert not found, found
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_the_app_loads_no_feature_modules() -> None:
    code = """
import sys
import ftwizard.screens.app
ours = {"plan", "advice", "estimate", "data", "diagnosis", "train", "catalog", "config"}
found = {f"ftwizard.{name}" for name in ours} & set(sys.modules)
found |= {"psutil", "ruamel.yaml", "questionary"} & set(sys.modules)
assert not found, found
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_extra_error_shows_the_install_command(tmp_path: Path) -> None:
    code = """
import sys
from ftwizard.train import command
command.is_installed = lambda name: name != "trl"
from ftwizard.__main__ import main
sys.exit(main(["train", sys.argv[1]]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(plan(tmp_path))],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "pip install 'ftwizard[local]'" in done.stderr


def test_wheel_contains_one_package_with_its_assets(tmp_path: Path) -> None:
    source = tmp_path / "source"
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout
    for name in filter(None, tracked.split("\0")):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target, follow_symlinks=False)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--wheel-dir", str(tmp_path), str(source)],
        check=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {n.split("/")[0] for n in names if ".dist-info/" not in n} == {"ftwizard"}
    for needed in ("py.typed", "screens/__init__.py", "assets/samples/tickets/plan.yaml",
                   "assets/samples/tickets/train.jsonl", "assets/samples/general/train.jsonl",
                   "assets/providers.toml", "assets/recipe_rules.toml", "assets/script/train.py.jinja",
                   "jobs/keeper.py", "assets/ftwizard.tcss", "assets/pages.tcss", "screens/chart/widget.py"):  # fmt: skip
        assert f"ftwizard/{needed}" in names
