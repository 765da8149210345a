"""``ftwizard advise`` as a person and a script run it, with and without a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.cli import as_json, ok, run
from tests.e2e.test_machine import driver

__all__ = ["driver"]  # a fixture

SECRET = "sk-not-to-be-seen-anywhere"


def plain(tmp_path: Path, **more: str) -> dict[str, str]:
    """Return an environment with no key and no driver but those given."""
    hidden = {name: "" for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "AZURE_"))}
    return {**hidden, "HOME": str(tmp_path), "COLUMNS": "80", "CUDA_VISIBLE_DEVICES": "", **more}


def test_side_by_side_in_80_columns(tmp_path: Path) -> None:
    text = ok("advise", environment=plain(tmp_path))
    assert max(map(len, text.splitlines())) <= 80
    for words in ("Model", "ownership", "Data", "→", "What would change it", "data=stay",
                  "Together AI", "[2026-04]", "CUDA_VISIBLE_DEVICES hides every GPU"):  # fmt: skip
        assert words in text


def test_answers_change_the_advice(tmp_path: Path) -> None:
    environment = plain(tmp_path)
    found = as_json("advise", "--answer", "data=stay", "--answer", "fit=facts",
                    environment=environment)  # fmt: skip
    assert found["recommendation"]["path"] == "local"
    assert found["recommendation"]["wrong_tool"] is True
    assert found["answers"] == {"data": "stay", "fit": "facts"}
    assert {one["id"] for one in found["questions"]}.isdisjoint(found["answers"])
    assert [one["possible"] for one in found["verdicts"]] == [True, False, False]
    text = ok("advise", "--answer", "fit=facts", environment=environment)
    assert "✗ Fine-tuning is the wrong tool" in text


@pytest.mark.parametrize("answer", ["data", "data=perhaps", "nothing=1", "=", "\x1b[2J=1"])
def test_an_answer_that_does_not_exist_is_wrong_usage(answer: str) -> None:
    done = run("advise", "--answer", answer)
    assert done.returncode == 2 and done.stdout == "" and "\x1b" not in done.stderr
    assert 1 <= len(done.stderr.strip().splitlines()) <= 2


def test_keys_are_named_never_shown(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(SECRET)
    environment = plain(tmp_path, OPENAI_API_KEY=SECRET)
    found = as_json("advise", environment=environment)
    assert found["machine"]["credentials"] == [
        {"service": "openai", "where": "OPENAI_API_KEY"},
        {"service": "aws", "where": "~/.aws/credentials"},
    ]
    assert found["answers"] == {"cloud": "aws"}
    assert SECRET not in str(found) + ok("advise", environment=environment)


def test_a_gpu_is_seen_through_its_driver(driver: Path, tmp_path: Path) -> None:
    environment = plain(tmp_path, LD_LIBRARY_PATH=str(driver), CUDA_VISIBLE_DEVICES="0")
    found = as_json("advise", "--answer", "size=large", environment=environment)
    assert found["machine"]["gpus"][0] == {"name": "Double 0", "memory": 80 << 30}
    assert found["recommendation"]["path"] == "local"
    assert "gpu_elsewhere" not in [one["id"] for one in found["questions"]]


def test_a_hung_driver_delays_and_is_named(driver: Path, tmp_path: Path) -> None:
    environment = plain(
        tmp_path, LD_LIBRARY_PATH=str(driver), CUDA_VISIBLE_DEVICES="0", NVML_DOUBLE="hang"
    )
    found = as_json("advise", environment=environment, timeout=30)
    assert found["machine"]["gpus"] == [] and "no answer" in found["machine"]["no_gpu"]


def test_advice_imports_nothing_heavy() -> None:
    code = """
import sys
import ftwizard.advice.path, ftwizard.advice.recipe, ftwizard.commands.advise
heavy = {"torch", "transformers", "trl", "peft", "datasets", "numpy", "textual", "openai", "boto3"}
found = heavy & set(sys.modules)
assert not found, found
"""
    subprocess.run([sys.executable, "-c", code], check=True)
