"""``train`` with a data file and a model: advised settings, the kept plan, and refusals."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from ftwizard.advice import plan_advice, recipe_advice
from ftwizard.cli import commands
from ftwizard.cli.parser import dispatch
from ftwizard.errors import DECLINED, FAILED, USAGE
from ftwizard.jobs import lock
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import wait_until_free
from ftwizard.plan import changes, plan_file
from ftwizard.plan.schema import Method, Recipe
from ftwizard.train import command
from tests.helpers.jobs import make
from tests.helpers.machines import make_machine
from tests.helpers.training import rows, tiny_model
from tests.paths import FIXTURES

ROWS = FIXTURES / "tool_use.jsonl"
CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64,
    "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 1000, "max_position_embeddings": 128,
    "tie_word_embeddings": True, "torch_dtype": "bfloat16",
}  # fmt: skip


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a model folder without weights: enough to advise and to start, not to train."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return folder


@pytest.fixture(autouse=True)
def worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start a process that ends at once instead of a training, on a machine without a GPU."""
    monkeypatch.setattr(command, "build_argv", lambda _: [sys.executable, "-c", "pass"])
    monkeypatch.setattr("ftwizard.hardware.machine.read_machine_info", make_machine)


def run(*argv: object) -> int:
    def open_screens(*_: Any, **__: Any) -> int:
        raise AssertionError("no screens are opened")

    return dispatch([str(word) for word in argv], open_screens)


def refuse(capsys: pytest.CaptureFixture[str], code: int, *argv: object) -> str:
    """Run a command that must start nothing; return its two lines of error."""
    assert run(*argv) == code
    text = capsys.readouterr()
    assert text.out == "" and len(text.err.splitlines()) <= 2, text.err
    return text.err


def test_data_file_starts_with_the_settings_that_the_wizard_advises(
    home: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", ROWS, "--model", model, "--name", "one", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["id"] == "one"
    kept = home / "plans" / "one.yaml"
    assert document["plan"] == str(kept)
    plan = plan_file.load(kept)
    assert plan.data.files.train == str(ROWS)
    assert plan.model.name == str(model)
    advised = {advice["name"]: advice["value"] for advice in document["advised"]}
    assert {"method", "learning_rate", "epochs", "max_length", "batch_size"} < set(advised)
    for name, value in advised.items():
        assert getattr(plan.recipe, name) == value, name
    assert advised["max_length"] == 128, "the model's context length is a limit"
    assert advised["warmup"] > Recipe().warmup, "few steps"
    assert plan_file.load(home / "runs" / "one" / "plan.yaml") == changes.pin_defaults(plan)


def test_kept_plan_starts_the_same_run_again(
    home: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", ROWS, "--model", model, "--name", "one") == 0
    text = capsys.readouterr()
    assert text.out == "one\n"
    kept = home / "plans" / "one.yaml"
    assert f"  ftwizard train {kept}\n" in text.err
    assert run("train", kept, "--name", "two", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["plan"], document["advised"]) == (str(kept), [])
    plans = [plan_file.load(home / "runs" / name / "plan.yaml") for name in ("one", "two")]
    assert plans[0] == plans[1]


def test_settings_on_the_command_line_are_kept(
    home: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own.jsonl"
    own.write_bytes(b"".join(ROWS.read_bytes().splitlines(keepends=True)[:9]))
    typed = ("--method", "full", "--epochs", "2", "--val", own, "--format", "openai-chat")
    assert run("train", ROWS, "--model", model, "--name", "one", *typed) == 0
    plan = plan_file.load(home / "plans" / "one.yaml")
    assert (plan.recipe.method, plan.recipe.epochs) == ("full", 2.0)
    assert plan.recipe.learning_rate == 2e-5, "advised for the method on the command line"
    assert (plan.data.files.validation, plan.data.format) == (str(own), "openai-chat")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"Advised for 96 rows, {model} and this machine:"
    assert any(line.split() == ["Learning", "rate", "2e-5"] for line in lines)
    assert not any(line.startswith(("Method", "Epochs")) for line in lines)


def test_columns_of_rows_in_no_known_format_are_kept_in_the_plan(
    home: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "rows.jsonl"
    lines = [json.dumps({"ask": f"Say {n}", "reply": f"It is {n}."}) for n in range(40)]
    rows.write_text("\n".join(lines))
    columns = ("--columns", "prompt=ask,completion=reply")
    assert run("train", rows, "--model", model, "--name", "one", *columns) == 0
    plan = plan_file.load(home / "plans" / "one.yaml")
    assert (plan.data.columns.prompt, plan.data.columns.completion) == ("ask", "reply")
    assert capsys.readouterr().err.startswith("Advised for 40 rows, ")


def test_minutes_reduce_the_run_and_are_shown(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows(600)))
    argv = (
        "train",
        data,
        "--model",
        tiny_model(tmp_path),
        "--epochs",
        "90",
        "--allow",
        "many-epochs",
    )
    capsys.readouterr()
    error = refuse(capsys, FAILED, *argv, "--minutes", "0.001")
    assert "does not fit into 0.001 min; nothing was started.\n  Even 8 steps on" in error
    assert not (home / "runs").exists() and not (home / "plans").exists()

    assert run(*argv, "--minutes", "3.7m", "--name", "one", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    plan = plan_file.load(home / "plans" / "one.yaml")
    assert plan.budget.minutes == document["cap"]["settings"]["budget.minutes"] == 3.7
    assert plan_file.load(home / "runs" / "one" / "plan.yaml") == changes.pin_defaults(plan)
    assert document["cap"]["fits"] and document["cap"]["gives_up"], document["cap"]
    settings = {**msgspec.to_builtins(plan.recipe), "max_rows": plan.data.max_rows}
    for name, value in document["cap"]["settings"].items():
        if name != "budget.minutes":
            assert settings[name.partition(".")[2]] == value, name
    for advice in document["advised"]:
        assert settings[advice["name"]] == advice["value"], "no advice that the limit replaced"

    assert run(*argv, "--minutes", "4", "--name", "two") == 0
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("4 min") and "✓ fits" in line for line in lines)


def test_start_next_to_a_running_run_warns(
    home: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "runs").mkdir(parents=True)
    descriptor = lock.take_exclusive(make(home / "runs" / "first").lock)
    assert descriptor is not None
    argv = ("train", ROWS, "--model", model, "--json", "--name")
    try:
        assert run(*argv, "two") == 0
        warnings = json.loads(capsys.readouterr().out)["warnings"]
    finally:
        os.close(descriptor)
    assert warnings[-1]["code"] == "other-runs"
    assert warnings[-1]["message"].startswith("Also running: first. On one device,")
    wait_until_free(JobFolder(home / "runs" / "two"), 60)
    assert run(*argv, "three") == 0
    codes = [warning["code"] for warning in json.loads(capsys.readouterr().out)["warnings"]]
    assert "other-runs" not in codes


def test_safety_rules_hold_as_for_a_plan(
    home: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_bytes(ROWS.read_bytes() + b"{\n")
    argv = ("train", broken, "--model", model, "--name", "one")
    assert "1 of 97 rows" in refuse(capsys, FAILED, *argv)
    many = (*argv, "--allow", "skip-bad-rows", "--epochs", "9")
    assert "9 epochs usually lead to memorization" in refuse(capsys, DECLINED, *many)
    assert not (home / "runs").exists() and not (home / "plans").exists()
    assert run(*many, "--allow", "many-epochs") == 0
    assert "see them:\n  ftwizard check" in capsys.readouterr().err
    plan = plan_file.load(home / "plans" / "one.yaml")
    assert plan.allow == ("skip-bad-rows", "many-epochs")


def test_saved_plan_is_never_overwritten(
    home: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plans = home / "plans"
    plans.mkdir(parents=True)
    (plans / "one.yaml").write_text("mine")
    error = refuse(capsys, FAILED, "train", ROWS, "--model", model, "--name", "one")
    assert "A plan of that name already exists" in error
    assert (plans / "one.yaml").read_text() == "mine"


def test_unusable_data_models_and_options_are_refused(
    home: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(f"data: {{files: {{train: {ROWS}}}}}\nmodel: {{name: {model}}}\n")
    bare = tmp_path / "bare.json"
    bare.write_text('\n [{"prompt": "a", "completion": "b"}]')
    for code, says, argv in (
        (FAILED, "Did you mean", (ROWS.with_name("tool_us.jsonl"), "--model", model)),
        (FAILED, "does not exist", (ROWS, "--model", model, "--val", tmp_path / "no.jsonl")),
        (FAILED, "is a folder", (tmp_path, "--model", model)),
        (FAILED, "Model nope was not found.", (ROWS, "--model", "nope")),
        (FAILED, "Did you mean Qwen/Qwen3-0.6B?", (ROWS, "--model", "qwen3-0.6b")),
        (FAILED, "is fine-tuned at OpenAI", (ROWS, "--model", "gpt-4.1-mini")),
        (FAILED, "Model owner/none was not found", (ROWS, "--model", "owner/none")),
        (USAGE, "is a plan, which names its model", (plan, "--model", model)),
        (USAGE, "--method is for a data file", (plan, "--method", "full")),
        (USAGE, "--method is for a data file", (plan, "--dry-run", "--method", "full")),
        (USAGE, "--minutes is for a data file", (plan, "--minutes", "10")),
        (USAGE, "Write one with provider: openai", (ROWS, "--model", model, "--dry-run")),
        (USAGE, "--val is for a data file", (plan, "--val", ROWS)),
        (USAGE, "--columns is for a data file", (plan, "--columns", "prompt=a,completion=b")),
        (USAGE, f"those that fit: ftwizard models {ROWS}   Or choose", (ROWS,)),
        (USAGE, "is a data file, not a plan", (bare,)),
        (USAGE, "Did you mean lora?", (ROWS, "--model", model, "--method", "lorra")),
        (USAGE, "is not a valid run name", (ROWS, "--model", model, "--name", "../x")),
    ):
        assert says in refuse(capsys, code, "train", *argv)
    assert not home.exists()


def test_methods_of_the_command_line_are_those_of_the_plan() -> None:
    assert get_args(Method) == commands.METHODS


def test_choosing_advice_starts_with_the_method_and_keeps_what_is_set() -> None:
    asked: list[Method] = []

    def advise_for(method: Method) -> dict[str, Any]:
        asked.append(method)
        advice = recipe_advice.advise_learning_rate(method, None)
        method_advice = msgspec.structs.replace(advice, name="method", value="full")
        return {"method": method_advice, "learning_rate": advice}

    chosen = plan_advice.choose(Recipe(), (), advise_for)
    assert asked == ["lora", "full"]
    assert (chosen["method"].value, chosen["learning_rate"].value) == ("full", 2e-5)
    assert set(plan_advice.choose(Recipe(), ("method",), advise_for)) == {"learning_rate"}
    assert asked[2:] == ["lora"]
