"""The wizard in a real 80×24 terminal with the keyboard only, from rows to a merged model."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from ftwizard.jobs.folder import JobFolder
from ftwizard.plan import plan_file
from ftwizard.screens.wizard.review import MIN_READ_S
from tests.e2e import tmux
from tests.e2e.cli import FTWIZARD, as_json, as_json_here
from tests.e2e.tmux import Tmux
from tests.helpers.jobs import end_all, events, until_ended

pytestmark = [
    pytest.mark.slow,
    pytest.mark.tmux,
    pytest.mark.skipif(not tmux.is_installed(), reason="tmux is not installed"),
    pytest.mark.timeout(900),
]


def alpaca(folder: Path) -> Path:
    file = folder / "rows.json"
    rows = [
        {"instruction": f"Say number {n} [bold]loud[/].", "input": "", "output": f"NUMBER {n}!"}
        for n in range(24)
    ]
    file.write_text(json.dumps(rows))
    return file


def chat(folder: Path) -> Path:
    file = folder / "rows.jsonl"
    rows = (
        {"messages": [{"role": "user", "content": f"Number {n}?"},
                      {"role": "assistant", "content": f"NUMBER {n}!"}]}
        for n in range(24)
    )  # fmt: skip
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def through_the_wizard(terminal: Tmux, file: Path, model: Path) -> None:
    """Accept the suggestions, except for the model, QLoRA and an evaluation without the safety set."""
    terminal.wait("New fine-tune")
    terminal.keys("n")
    terminal.wait("try this first|is recommended")
    terminal.keys("Enter")
    terminal.wait("Press enter to read")
    terminal.keys("-l", str(file))
    terminal.keys("Enter")
    terminal.wait("✓ 24 rows")
    terminal.keys("Enter")
    terminal.wait("SmolLM2-135M-Instruct")
    terminal.keys("-l", str(model))
    terminal.wait("✓ fits  ·")
    terminal.keys("Tab")
    terminal.wait(rf"/{model.name}/\s*\n")
    terminal.keys("Tab", "Tab", "Right")  # past the objective
    terminal.wait("‹ QLoRA")
    terminal.keys("Enter")
    terminal.wait(r"safety \d+ · at most \d+ answers")
    terminal.keys("Tab", "Tab", "Tab", "Right")
    terminal.wait(r"general \d+ · at most \d+ answers")
    terminal.keys("Enter")
    terminal.wait("whole run", timeout=540)
    terminal.wait("trained on")
    terminal.keys("Enter")
    terminal.wait("same as  ftwizard train")
    time.sleep(2 * MIN_READ_S)  # Enter is ignored until the page could have been read
    terminal.keys("Enter")


def test_wizard_trains_and_merges_from_an_alpaca_file(
    tmp_path: Path, home: Path, model_cache: Path, small: Path
) -> None:
    environment = {
        "FTWIZARD_HOME": str(home), "FTWIZARD_CACHE": str(model_cache), "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    with Tmux(str(FTWIZARD), environment=environment) as terminal:
        through_the_wizard(terminal, alpaca(tmp_path), small)
        terminal.wait("training  step|✓ finished", timeout=540)
        terminal.wait("validation", timeout=540)
        terminal.wait("enter shows the results", timeout=1200)
        terminal.keys("Enter")
        terminal.wait(r"(Ship|Do not ship|Cannot tell)[\s\S]*base +prompted +tuned")
        terminal.keys("Right")
        terminal.wait("answer 1 of")
        terminal.keys("Escape")
        terminal.wait("✓ finished")
        terminal.keys("C-q")
        assert "exit=0" in terminal.wait("exit=")
    (run,) = as_json("runs")["runs"]
    folder = home / "runs" / run["id"]
    assert (folder / "merged" / "model.safetensors").exists()
    plan = plan_file.load(folder / "plan.yaml")
    assert plan.recipe.method == "qlora" and plan.evaluate.general and not plan.evaluate.safety
    assert (home / "plans" / f"{run['id']}.yaml").exists()


PAGES_BY_ENTER = (
    "New fine-tune", "try this first|is recommended", "Press enter to read", "✓ 24 rows",
    "owner/model, or a folder", "SmolLM2.*\\n[\\s\\S]*Max length", r"at most \d+ answers",
    "trained on", "same as  ftwizard train",
)  # fmt: skip
"""What each page shows when only Enter is pressed, from home to the review."""


def test_enter_alone_starts_a_run(tmp_path: Path, home: Path, model_cache: Path) -> None:
    """Only the data file is typed; no key, no GPU and no answer. The base model answers first."""
    environment = {
        "FTWIZARD_HOME": str(home), "FTWIZARD_CACHE": str(model_cache), "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HOME": str(tmp_path),
    }  # fmt: skip
    file = chat(tmp_path)
    try:
        with Tmux(str(FTWIZARD), environment=environment) as terminal:
            for shown in PAGES_BY_ENTER:
                terminal.wait(shown, timeout=540)
                if shown == "Press enter to read":
                    terminal.keys("-l", str(file))
                if shown.startswith("same as"):
                    time.sleep(2 * MIN_READ_S)
                terminal.keys("Enter")
            terminal.wait("comparing: base model, [1-9]", timeout=540)
    finally:
        end_all(home)
    (run,) = as_json("runs")["runs"]
    plan = plan_file.load(home / "runs" / run["id"] / "plan.yaml")
    assert (plan.provider, plan.data.files.train) == ("local", str(file))
    assert plan.provider_reason and plan.provider_reason.startswith("recommended: ")
    assert "SmolLM2" in plan.model.name and plan.validation_share == 0.1 and not plan.allow


def test_estimate_matches_the_steps_and_data_of_the_run(
    tmp_path: Path, home: Path, small: Path
) -> None:
    plan = tmp_path / "plan.yaml"
    for method, packing in (("lora", True), ("full", False)):
        plan.write_text(json.dumps({
            "data": {"files": {"train": str(chat(tmp_path))}},
            "model": {"name": str(small)},
            "recipe": {"method": method, "packing": packing, "epochs": 0.5, "max_length": 128},
            "finish": {"merge": False, "compare": False},
        }))  # fmt: skip
        document = as_json_here("estimate", plan)
        name = f"run-{method}-{packing}"
        as_json("train", plan, "--name", name)
        folder = JobFolder(home / "runs" / name)
        assert until_ended(folder, timeout=720).end_reason == "finished"
        phases = [e for e in events(folder, "phase") if e["phase"] == "training"]
        assert phases[0]["total"] == document["steps"]
        data = {e["part"]: e for e in events(folder, "data")}
        for part, report in document["parts"].items():
            for key in ("rows", "kept", "tokens", "trained", "longest"):
                assert data[part][key] == report[key], (part, key)
        assert document["disk"]["needed"]["value"] < document["disk"]["free"]["value"]
