"""Tests for tasks of lm-eval, on samples that version 0.4.13 wrote for SmolLM2-135M-Instruct."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from ftwizard.errors import FtwizardError
from ftwizard.evaluate import lm_eval_tasks, sets
from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.run.asking import ask_by_lm_eval
from ftwizard.evaluate.run.subject import Answers
from ftwizard.plan import plan_file
from ftwizard.plan.schema import Plan, Recipe
from tests.helpers.training import tiny_model
from tests.paths import FIXTURES

RECORDED = FIXTURES / "evaluation" / "lm_eval"
PROGRAM = """#!{python}
import json, os, pathlib, shutil, sys, time
arguments = sys.argv[1:]
folder = pathlib.Path(arguments[arguments.index("--output_path") + 1])
pathlib.Path({calls!r}).write_text(json.dumps([os.getpid(), arguments]))
print("Running loglikelihood requests:  25%|xx | 2/8 [00:01<00:10]", file=sys.stderr, flush=True)
task = arguments[arguments.index("--tasks") + 1]
if task == "endless":
    time.sleep(600)
if task == "nosuch":
    sys.exit("ValueError: Tasks not found: nosuch")
(folder / "model").mkdir()
for path in pathlib.Path({recorded!r}).glob(f"samples_{{task}}_*"):
    shutil.copy(path, folder / "model")
if task == "damaged":
    (folder / "model" / "samples_damaged_2026-01-01T00-00-00.0.jsonl").write_text('{{"doc": 1}}')
time.sleep(0.3)
"""
"""Replays what lm-eval wrote: its own start takes half a minute."""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path, program = tmp_path / "calls.json", tmp_path / "lm-eval"
    program.write_text(
        PROGRAM.format(python=sys.executable, calls=str(path), recorded=str(RECORDED))
    )
    program.chmod(0o755)
    monkeypatch.setattr(lm_eval_tasks, "require_installed", lambda: [str(program)])
    monkeypatch.setattr(lm_eval_tasks, "POLL_S", 0.02)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return folder


def read_arguments(calls: Path) -> list[str]:
    arguments: list[str] = json.loads(calls.read_text())[1]
    return arguments


@pytest.mark.usefixtures("calls")
def test_items_of_generated_answers_and_of_choices() -> None:
    words = lm_eval_tasks.make_items("lm-eval:ft_words")
    assert [item.expected for item in words] == [["Paris"], ["4"], ["Earth"], ["green"]]
    assert words[0].set == "lm-eval:ft_words" and words[0].scorer == "lm_eval"
    assert words[0].messages[0]["content"].startswith("Question: What is the capital of France?")
    pick = lm_eval_tasks.make_items("lm-eval:ft_pick")
    assert [item.expected for item in pick] == [["Paris"], ["four"], ["green"]]
    assert len({item.id for item in words + pick}) == 7


def test_answers_of_the_items_that_were_drawn(calls: Path, model: Path) -> None:
    items = lm_eval_tasks.make_items("lm-eval:ft_words")[1:3]
    seen: list[tuple[int, int]] = []
    arm = Arm(name="tuned", model=str(model), adapter="/adapters/one, two=3")
    answers = lm_eval_tasks.answer(
        arm, items, recipe=Recipe(), on_progress=lambda done, total: seen.append((done, total))
    )
    assert [answer.item for answer in answers] == [item.id for item in items]
    assert [answer.text for answer in answers] == [" 2", ""]
    assert all(answer.score and answer.score.passed is False for answer in answers)
    assert (2, 8) in seen
    arguments = read_arguments(calls)
    assert json.loads(arguments[arguments.index("--samples") + 1]) == {"ft_words": [1, 2]}
    loaded = json.loads(arguments[arguments.index("--model_args") + 1])
    assert loaded["pretrained"] == str(model) and loaded["peft"] == "/adapters/one, two=3"
    assert "--apply_chat_template" not in arguments


def test_a_chat_template_is_used(calls: Path, model: Path) -> None:
    (model / "chat_template.jinja").write_text("{{ messages }}")
    items = lm_eval_tasks.make_items("lm-eval:ft_pick")
    (answer, *_) = lm_eval_tasks.answer(Arm(name="base", model=str(model)), items, recipe=Recipe())
    assert answer.text == "Paris" and answer.score and answer.score.passed is True
    assert "--apply_chat_template" in read_arguments(calls)


@pytest.mark.usefixtures("calls")
@pytest.mark.parametrize(
    "arm", [Arm(name="a", model="http://127.0.0.1:9"), Arm(name="a", model="/m", scale=0.5)]
)
def test_an_endpoint_and_a_weaker_adapter_have_no_score(arm: Arm) -> None:
    items = lm_eval_tasks.make_items("lm-eval:ft_pick")
    for answer in lm_eval_tasks.answer(arm, items, recipe=Recipe()):
        assert answer.score and answer.score.passed is None and answer.score.note


@pytest.mark.usefixtures("calls")
def test_a_task_that_it_does_not_know() -> None:
    with pytest.raises(FtwizardError) as caught:
        lm_eval_tasks.make_items("lm-eval:nosuch")
    assert "Tasks not found: nosuch" in caught.value.message
    assert "lm-eval ls tasks" in caught.value.hint


@pytest.mark.usefixtures("calls")
def test_samples_of_another_version() -> None:
    with pytest.raises(FtwizardError, match="unknown form"):
        lm_eval_tasks.make_items("lm-eval:damaged")


class Left(Exception):
    pass


def test_a_stop_ends_its_process(calls: Path) -> None:
    def leave(done: int, total: int) -> None:
        if calls.exists() and calls.read_text():
            raise Left

    with pytest.raises(Left):
        lm_eval_tasks.make_items("lm-eval:endless", leave)
    process = json.loads(calls.read_text())[0]
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_lm_eval_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(FtwizardError) as caught:
        sets.read_files(["lm-eval:arc_easy"])
    assert "not installed" in caught.value.message and "pip install" in caught.value.hint


def test_a_plan_names_tasks(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(
        "data: {files: {train: rows.jsonl}}\nmodel: {name: org/model}\n"
        "evaluate: {sets: ['lm-eval:arc_easy', 'lm-eval:own.yaml', faq.jsonl]}\n"
    )
    assert plan_file.load(path).evaluate.sets == (
        "lm-eval:arc_easy",
        f"lm-eval:{tmp_path / 'own.yaml'}",
        str(tmp_path / "faq.jsonl"),
    )


@pytest.mark.slow
def test_the_real_lm_eval(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(
        '{"q": "Two plus two is", "c": ["four", "blue"], "g": 0}\n'
    )
    task = tmp_path / "own.yaml"
    task.write_text(
        f"task: ft_own\ndataset_path: json\ndataset_kwargs: {{data_files: {tmp_path}/rows.jsonl}}\n"
        "test_split: train\noutput_type: multiple_choice\ndoc_to_text: '{{q}}'\n"
        "doc_to_choice: '{{c}}'\ndoc_to_target: '{{g}}'\nmetric_list: [{metric: acc}]\n"
    )
    (item,) = sets.read_files([f"lm-eval:{task}"])
    assert item.expected == ["four"] and item.set == "lm-eval:own"
    arm = Arm(name="base", model=str(tiny_model(tmp_path)))
    (answer,) = lm_eval_tasks.answer(arm, [item], recipe=Recipe(precision="fp32"))
    assert answer.item == item.id and answer.text in ("four", "blue")
    assert answer.score and answer.score.passed is (answer.text == "four")


def test_a_run_asks_each_arm_without_a_prompt(calls: Path, model: Path) -> None:
    phases: list[dict[str, Any]] = []
    worker: Any = SimpleNamespace(
        check_stop=lambda: None, phase=lambda name, **fields: phases.append(fields)
    )
    items = sets.read_files(["lm-eval:ft_pick", "lm-eval:ft_words"], worker.check_stop)
    arms = [
        Arm(name="base", model=str(model)),
        Arm(name="prompted", model=str(model), system="Be brief."),
    ]
    plan = msgspec.convert(
        {"data": {"files": {"train": "t.jsonl"}}, "model": {"name": "m"}}, type=Plan
    )
    answers: Answers = {"base": [], "prompted": []}
    ask_by_lm_eval(worker, plan, arms, items, answers)
    assert {answer.item for answer in answers["base"]} == {item.id for item in items}
    assert answers["prompted"] == []
    assert {
        "what": "base model, lm-eval:ft_pick",
        "done": 2,
        "total": 8,
        "unit": "requests",
    } in phases
