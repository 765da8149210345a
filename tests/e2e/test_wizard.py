"""The wizard in a real 80×24 terminal with the keyboard only, from rows to a merged model."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from ftwizard.jobs.folder import JobFolder
from ftwizard.screens.wizard.review import MIN_READ_S
from tests.e2e import tmux
from tests.e2e.cli import FTWIZARD, as_json
from tests.e2e.tmux import Tmux
from tests.helpers.jobs import events, until_ended

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


def through_the_wizard(terminal: Tmux, file: Path) -> None:
    """Accept the wizard's suggestions, except for QLoRA."""
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
    terminal.keys("Tab")
    terminal.keys("Right")
    terminal.wait("‹ QLoRA")
    terminal.keys("Enter")
    terminal.wait("steps ", timeout=540)
    terminal.wait("trained on")
    terminal.keys("Enter")
    terminal.wait("same as  ftwizard train")
    time.sleep(2 * MIN_READ_S)  # Enter is ignored until the page could have been read
    terminal.keys("Enter")


def test_wizard_trains_and_merges_from_an_alpaca_file(
    tmp_path: Path, home: Path, model_cache: Path
) -> None:
    environment = {
        "FTWIZARD_HOME": str(home), "FTWIZARD_CACHE": str(model_cache), "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "2",
    }  # fmt: skip
    with Tmux(str(FTWIZARD), environment=environment) as terminal:
        through_the_wizard(terminal, alpaca(tmp_path))
        terminal.wait("training  step", timeout=540)
        terminal.wait("validation", timeout=540)
        terminal.wait("enter shows the results", timeout=1200)
        terminal.keys("Enter")
        shown = terminal.wait(r"test loss[\s\S]*vllm serve")
        assert "answer 1 of" in shown
        assert "vllm serve" in shown
        terminal.keys("Enter")
        terminal.wait("✓ finished")
        terminal.keys("C-q")
        assert "exit=0" in terminal.wait("exit=")
    (run,) = as_json("runs")["runs"]
    folder = home / "runs" / run["id"]
    assert (folder / "merged" / "model.safetensors").exists()
    assert "method: qlora" in (folder / "plan.yaml").read_text()
    assert (home / "plans" / f"{run['id']}.yaml").exists()


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
        document = as_json("estimate", plan)
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
