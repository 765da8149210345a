"""``ftwizard advise`` as text and as JSON, with and without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.cli import as_json, ok, run

SECRET = "sk-not-to-be-seen-anywhere"


def plain(tmp_path: Path, **more: str) -> dict[str, str]:
    """Return an environment without keys and drivers, except those in ``more``."""
    hidden = {name: "" for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "AZURE_"))}
    return {**hidden, "HOME": str(tmp_path), "COLUMNS": "80", "CUDA_VISIBLE_DEVICES": "", **more}


def test_comparison_fits_80_columns(tmp_path: Path) -> None:
    text = ok("advise", environment=plain(tmp_path))
    assert max(map(len, text.splitlines())) <= 80
    for words in ("Model", "ownership", "Data", "→", "What would change", "data=stay",
                  "Together AI", "(2026-04: ", "CUDA_VISIBLE_DEVICES hides all GPUs"):  # fmt: skip
        assert words in text


def test_recommendation_comes_first_and_words_stay_whole(tmp_path: Path) -> None:
    wide = ok("advise", environment=plain(tmp_path))
    assert wide.startswith("→ Try first: Hugging Face + QLoRA on this machine. It can start now.")
    order = [
        "→ ",
        "Best in general, for a model around 8B: Cloud-managed, Together AI",
        "What would change the best in general",
        "Other providers",
        "This machine",
        "Model",
        "To refine this",
    ]
    places = [wide.index(words) for words in order]
    assert places == sorted(places)
    for columns in ("60", "76", "80"):
        text = ok("advise", environment=plain(tmp_path, COLUMNS=columns))
        assert max(map(len, text.splitlines())) <= int(columns)
        assert "infrastructure" in text and "\\n" not in text


def test_impossible_answers_list_the_required_changes(
    tmp_path: Path,
) -> None:
    asked = ("advise", "--answer", "data=stay", "--answer", "size=large")
    text = ok(*asked, environment=plain(tmp_path))
    first, _, rest = text.partition("\n\n")
    assert "No option is possible" in first and "48 GB" in " ".join(first.split())
    assert rest.startswith("Change one of these") and "(gpu_elsewhere=own)" in rest
    assert "→" not in text
    document = as_json(*asked, environment=plain(tmp_path))
    assert not any(verdict["possible"] for verdict in document["verdicts"])
    assert document["recommendation"]["blocked"] and len(document["recommendation"]["changes"]) >= 3


def test_answers_change_the_advice(tmp_path: Path) -> None:
    environment = plain(tmp_path)
    document = as_json("advise", "--answer", "data=stay", "--answer", "fit=facts",
                    environment=environment)  # fmt: skip
    assert document["recommendation"]["provider"] == "local"
    assert document["recommendation"]["wrong_tool"] is True
    assert document["answers"] == {"data": "stay", "fit": "facts"}
    assert {question["id"] for question in document["questions"]}.isdisjoint(document["answers"])
    assert [verdict["possible"] for verdict in document["verdicts"]] == [True, False, False]
    text = ok("advise", "--answer", "fit=facts", environment=environment)
    assert "✗ Fine-tuning is the wrong tool" in text


@pytest.mark.parametrize("answer", ["data", "data=perhaps", "nothing=1", "=", "\x1b[2J=1"])
def test_unknown_answer_is_a_usage_error(answer: str) -> None:
    done = run("advise", "--answer", answer)
    assert done.returncode == 2 and done.stdout == "" and "\x1b" not in done.stderr
    assert 1 <= len(done.stderr.strip().splitlines()) <= 2


def test_credentials_are_located_but_never_printed(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(SECRET)
    environment = plain(tmp_path, OPENAI_API_KEY=SECRET)
    document = as_json("advise", environment=environment)
    assert document["machine"]["credentials"] == [
        {"service": "openai", "where": "OPENAI_API_KEY"},
        {"service": "aws", "where": "~/.aws/credentials"},
    ]
    assert document["answers"] == {"cloud": "aws"}
    assert SECRET not in str(document) + ok("advise", environment=environment)


def test_gpu_is_detected_through_its_driver(driver: Path, tmp_path: Path) -> None:
    environment = plain(tmp_path, LD_LIBRARY_PATH=str(driver), CUDA_VISIBLE_DEVICES="0")
    document = as_json("advise", "--answer", "size=large", environment=environment)
    first = document["recommendation"]["first"]
    assert (first["provider"], first["size"], first["problem"]) == ("local", "large", "")
    text = ok("advise", "--answer", "size=large", environment=environment)
    assert "Best in general" not in text, "it is the one to try first"
    assert document["machine"]["gpus"][0] == {
        "name": "Double 0",
        "memory": 80 << 30,
        "used": 20 << 30,
    }
    assert document["recommendation"]["provider"] == "local"
    assert "gpu_elsewhere" not in [question["id"] for question in document["questions"]]


def test_hung_driver_is_reported_as_no_answer(driver: Path, tmp_path: Path) -> None:
    environment = plain(
        tmp_path, LD_LIBRARY_PATH=str(driver), CUDA_VISIBLE_DEVICES="0", NVML_DOUBLE="hang"
    )
    document = as_json("advise", environment=environment, timeout=90)
    assert document["machine"]["gpus"] == [] and "no answer" in document["machine"]["no_gpu"]


def rows_of(answers: list[str]) -> str:
    chats = (
        [{"role": "user", "content": f"Ask {n}"}, {"role": "assistant", "content": answer}]
        for n, answer in enumerate(answers)
    )
    return "".join(json.dumps({"messages": chat}) + "\n" for chat in chats)


def test_data_file_adds_evidence_recipe_and_costs(tmp_path: Path) -> None:
    data, report = tmp_path / "rows.jsonl", tmp_path / "report.json"
    data.write_text(rows_of([f"It costs ${n}9.99 as of 3 March 2026." for n in range(30)]))
    environment = plain(tmp_path)
    result = as_json("advise", str(data), environment=environment)["data"]
    assert result["evidence"]["usable"] == 30 and result["raised"]["wrong_tool"] is True
    values = {item["name"]: item["value"] for item in result["recipe"]}
    assert values["epochs"] == 3 and values["max_length"] == 128 and values["report_to"] is None
    assert all(item["source"] and item["as_of"] for item in result["recipe"])
    assert set(result["costs"]) == {"openai", "local", "cloud"}
    assert all(result["costs"][id]["training"]["as_of"] for id in ("openai", "cloud"))
    assert result["costs"]["local"]["own"] == "the CPU here"
    text = ok("advise", str(data), environment=environment)
    assert "Training cost for these rows, 3 epochs" in text
    assert "✗ tool" in text
    output = " ".join(text.partition("Suggested recipe")[2].split())
    shown = [
        item for item in result["recipe"] if item["name"] in ("learning_rate", "epochs", "rank")
    ]
    assert (
        all(f"({item['source']}, {item['as_of']})" in output for item in shown) and len(shown) == 3
    )
    assert max(len(line) for line in text.splitlines() if str(data) not in line) <= 80
    report.write_text(ok("check", str(data), "--json"))
    again = as_json("advise", str(report), environment=environment)["data"]
    assert again["evidence"] == result["evidence"]


def test_verifiable_answers_suggest_rft(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text(rows_of([json.dumps({"id": n}) for n in range(30)]))
    result = as_json("advise", str(data), environment=plain(tmp_path))["data"]
    assert result["evidence"]["rft"]["source"] and result["raised"] is None


@pytest.mark.parametrize("name", ["nothing.jsonl", "other.json", "unusable.jsonl"])
def test_file_without_usable_rows_gives_a_short_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "unusable.jsonl").write_text('{"messages": []}\n')
    done = run("advise", str(tmp_path / name), environment=plain(tmp_path))
    assert done.returncode == 1 and done.stdout == "" and "Traceback" not in done.stderr
    assert 1 <= len(done.stderr.strip().splitlines()) <= 2


def test_advice_imports_no_heavy_modules() -> None:
    code = """
import sys
import ftwizard.advice.provider_advice, ftwizard.advice.recipe_advice, ftwizard.cli.advise
import ftwizard.estimate.plan_estimate, ftwizard.advice.evidence, ftwizard.advice.target_modules
heavy = {"torch", "transformers", "trl", "peft", "datasets", "numpy", "textual", "openai", "boto3"}
found = heavy & set(sys.modules)
assert not found, found
"""
    subprocess.run([sys.executable, "-c", code], check=True)
