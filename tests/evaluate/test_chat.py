"""Chat with a real, tiny model and its adapter."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ftwizard.cli.chat_lines import LineChat
from ftwizard.data import reader
from ftwizard.data.reader import ParsedRow
from ftwizard.errors import FtwizardError
from ftwizard.evaluate import chat, placement
from ftwizard.evaluate.chat import ChatModels
from ftwizard.export import merge
from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.runs.chat_protocol import AnswerRequest, Side
from ftwizard.runs.result import read_trained
from tests.helpers import training
from tests.helpers.checkpoints import flip_bit


def parse_rows(folder: Path, rows: list[dict[str, object]]) -> list[ParsedRow]:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return reader.read_table(file, "auto").rows


MESSAGES = [{"role": "user", "content": "3: the cat sat"}]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> JobFolder:
    root = tmp_path_factory.mktemp("chat")
    return training.train(root, "run", training=24, epochs=3, samples={"count": 0})


@pytest.fixture(scope="module")
def models(run: JobFolder) -> ChatModels:
    steps: list[str] = []
    loaded = chat.load(run, base=True, say=steps.append)
    assert steps == ["libraries", "tuned model"], "one copy of the weights for both"
    return loaded


def ask(side: Side, limit: int = 12) -> AnswerRequest:
    return AnswerRequest(id=1, side=side, messages=MESSAGES, max_new_tokens=limit)


def test_base_answers_as_without_the_adapter(run: JobFolder, models: ChatModels) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = run.path.parent / "tiny"
    tokenizer = AutoTokenizer.from_pretrained(base)
    text = tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    precision = torch.bfloat16 if "bf16" in _precision(models) else torch.float32
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=precision)
    with torch.no_grad():
        output = plain.generate(ids, max_new_tokens=12, do_sample=False)
    expected = str(tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)).strip()
    before = models.answer(ask("tuned")).text
    assert models.answer(ask("base")).text == expected
    assert models.answer(ask("tuned")).text == before != expected, "the adapter is on again"


def _precision(models: ChatModels) -> str:
    return {"torch.bfloat16": "bf16"}.get(str(models._tuned.dtype), "fp32")


def test_answer_is_streamed_and_cut_at_its_limit(
    models: ChatModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat, "EMIT_EVERY_S", 0.0)
    texts: list[str] = []
    answer = models.answer(ask("base", 8), texts.append)
    assert len(texts) == 8 and texts[-1].strip() == answer.text.rstrip("\ufffd").strip()
    assert (answer.reason, answer.tokens) == ("limit", 8)


def test_answer_stops_on_request(models: ChatModels) -> None:
    answer = models.answer(ask("base", 300), is_stopped=lambda: True)
    assert (answer.reason, answer.tokens) == ("stopped", 1)


def test_conversation_longer_than_the_context_is_refused(models: ChatModels) -> None:
    long = [{"role": "user", "content": "x" * 600}]
    with pytest.raises(FtwizardError, match="context is 512"):
        models.answer(AnswerRequest(id=1, side="tuned", messages=long))
    near = [{"role": "user", "content": "x" * 420}]
    answer = models.answer(AnswerRequest(id=1, side="base", messages=near, max_new_tokens=300))
    assert answer.tokens < 100, "no more than the context has left"


def test_model_facts(run: JobFolder, models: ChatModels) -> None:
    ready = models.ready
    assert (ready.run, ready.has_base, ready.has_template) == (run.id, True, True)
    assert ready.system is None and ready.busy == []
    without = chat.load(run, base=False, say=lambda part: None)
    assert not without.ready.has_base
    with pytest.raises(FtwizardError, match="base model is not loaded"):
        without.answer(ask("base"))


def test_too_little_memory_is_refused_before_loading(
    run: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "LIBRARY_BYTES", 10**15)
    with pytest.raises(FtwizardError, match=r"needs about 1,?000,?000.0 GB of memory, and"):
        chat.load(run, base=True, say=lambda part: None)


def test_run_without_weights_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FtwizardError, match="no trained weights yet") as caught:
        chat.load(JobFolder(tmp_path / "new"), base=True, say=lambda part: None)
    assert "ftwizard status new" in caught.value.hint


def test_deleted_weights_are_named(run: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "_has_weights", lambda folder: False)
    with pytest.raises(FtwizardError, match="weights of run run are incomplete"):
        chat.load(run, base=True, say=lambda part: None)


def test_changed_base_and_damaged_adapter_are_not_chatted_with(
    run: JobFolder, models: ChatModels
) -> None:
    trained = read_trained(run)
    assert trained
    base, adapter = Path(trained.base), run.adapter / "adapter_model.safetensors"
    for file, message in (
        (base / "model.safetensors", "base weights .* changed since run run started"),
        (adapter, r"weights of run run are damaged: adapter/adapter_model\.safetensors"),
    ):
        flip_bit(file)
        with pytest.raises(FtwizardError, match=message):
            chat.load(run, base=True, say=lambda part: None)
        flip_bit(file)
    chat.load(run, base=True, say=lambda part: None)
    flip_bit(base / "model.safetensors")
    merge.merge(base, run.adapter, run.merged, end_ids=trained.end_ids)
    ready = chat.load(run, base=True, say=lambda part: None).ready
    flip_bit(base / "model.safetensors")
    shutil.rmtree(run.merged)
    assert not ready.has_base
    assert any("changed since run run started" in note for note in ready.notes), ready.notes


def test_system_prompt_is_that_of_most_rows(tmp_path: Path) -> None:
    from ftwizard.train.dataset import SavedTestSet, find_system_prompt

    def row(system: str | None) -> dict[str, object]:
        first = [] if system is None else [{"role": "system", "content": system}]
        turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
        return {"messages": [*first, *turns]}

    assert (
        find_system_prompt(parse_rows(tmp_path, [row("Route."), row("Route."), row("x")]))
        == "Route."
    )
    assert find_system_prompt(parse_rows(tmp_path, [row("a"), row("b")])) is None
    assert find_system_prompt(parse_rows(tmp_path, [row(None), row(None), row("b")])) is None
    assert find_system_prompt([]) is None
    folder = JobFolder(tmp_path / "old")
    folder.evaluations.mkdir(parents=True)
    assert chat.read_system_prompt(folder) is None
    rows = parse_rows(tmp_path, [row("Route.")])
    write_json(folder.evaluations / "test.json", SavedTestSet(rows=rows, system="Route."))
    assert chat.read_system_prompt(folder) == "Route."


Talk = Callable[..., str]


@pytest.fixture
def talk(
    run: JobFolder,
    models: ChatModels,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Talk:
    """Return a function that chats line by line, and returns what is printed."""

    def talk_in(*lines: str, max_tokens: int = 4) -> str:
        arguments = argparse.Namespace(
            max_tokens=max_tokens, no_system=False, system=None, temperature=0.0
        )
        waiting = iter(lines)
        monkeypatch.setattr("builtins.input", lambda question: next(waiting, ""))
        assert LineChat(run, models, arguments).run() == 0
        return capsys.readouterr().out

    return talk_in


def test_lines_answer_again_and_change_the_settings(talk: Talk) -> None:
    shown = talk(
        "/again", "/systm", "3: the cat sat", "/again", "/temperature 9", "/temperature 0.5",
        "/system Answer in\u202e French.", "/system", "/system", "/new", "/etc/passwd is a file", "/help",
    )  # fmt: skip
    assert "✗ There is no prompt yet." in shown
    assert "✗ There is no command /systm. Did you mean /system?" in shown
    assert shown.count("tuned> ") == shown.count("base> ") == 3, "a path is a prompt"
    assert "Answer 2, temperature 0.7:" in shown and "(cut off after 4 tokens)" in shown
    assert "from 0 (greedy) to 2" in shown and "Decoding: temperature 0.5" in shown
    assert "System prompt: Answer in" in shown and "\u202e" not in shown
    assert "New conversation." in shown and "/add [FILE]" in shown


def test_lines_add_the_last_turn_to_a_data_file(run: JobFolder, talk: Talk, tmp_path: Path) -> None:
    training_file = run.path.parent / "train.jsonl"
    original = training_file.read_bytes()
    other = tmp_path / "pairs.jsonl"
    other.write_text('{"prompt": "a", "completion": "b"}\n')
    shown = talk(
        "/add", "3: the cat sat", "/system Answer in French.", "3: the cat sat", "/add", "Le chat.",
        f"/add {other}", "", f"/add {training_file}", "Non.", "n",
    )  # fmt: skip
    text = " ".join(shown.split())
    assert "run-additions.jsonl (chat messages)." in text and "To train on all rows: cat " in text
    assert "system prompt, earlier turns or tools" in text
    assert "Nothing was added." in shown and training_file.read_bytes() == original
    (line,) = (run.path.parent / "run-additions.jsonl").read_text().splitlines()
    system, first, earlier, again, answer = json.loads(line)["messages"]
    assert (system["role"], first["content"]) == ("system", "3: the cat sat")
    assert (earlier["role"], earlier["weight"], again) == ("assistant", 0, first)
    assert answer == {"role": "assistant", "content": "Le chat."}


def test_ctrl_c_stops_the_answer_and_not_the_chat(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: ChatModels, tokens: list[int]) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        return "as far as it has come"

    monkeypatch.setattr(chat, "EMIT_EVERY_S", 0.0)
    monkeypatch.setattr(ChatModels, "_decode", interrupt)
    shown = talk("hello", "/new", max_tokens=300)
    assert "(stopped)" in shown and "base> " not in shown, "the other answer is not begun"
    assert "New conversation." in shown


def test_samples_differ_and_greedy_answers_do_not(models: ChatModels) -> None:
    def sample(temperature: float) -> set[str]:
        request = msgspec.structs.replace(ask("base", 12), temperature=temperature)
        return {models.answer(request).text for _ in range(3)}

    assert len(sample(0.0)) == 1 and len(sample(1.5)) > 1
