"""Models that think first: their prompts, their limits, and answers that are nothing but thinking."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftwizard.evaluate import thinking
from ftwizard.evaluate.answer_cache import AnswerCache
from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.batched_generation import Finished
from ftwizard.evaluate.endpoint import EndpointAnswerer
from ftwizard.evaluate.items import Item
from ftwizard.evaluate.local_model import LocalAnswerer, LocalModels
from ftwizard.evaluate.run.asking import score_answer
from ftwizard.evaluate.thinking import MAX_THINKING_TOKENS
from ftwizard.runs.evaluation import ItemAnswer
from tests.doubles.chat_endpoint import Reply, serve_chat
from tests.helpers import training

BEGIN = "{% if add_generation_prompt %}<|im_start|>assistant\n"
SWITCHED = (  # as in Qwen3
    BEGIN + "{% if enable_thinking is defined and enable_thinking is false %}"
    "<think>\n\n</think>\n\n{% endif %}"
)
OPEN = BEGIN + "<think>\n"  # as in DeepSeek-R1
ITEM = Item(id="1", set="safety", messages=[{"role": "user", "content": "Hi"}], scorer="refusal",
            max_tokens=64)  # fmt: skip


def make_model(root: Path, begin: str) -> Path:
    """Return a tiny model whose generation prompt begins so."""
    model = training.tiny_model(root)
    path = model / "chat_template.jinja"
    template = path.read_text()
    assert BEGIN in template
    path.write_text(template.replace(BEGIN, begin))
    return model


def open_answerer(root: Path, begin: str) -> LocalAnswerer:
    arm = Arm(name="base", model=str(make_model(root, begin)))
    return LocalAnswerer(arm, LocalModels(AnswerCache(None)))


def read_prompt(answerer: LocalAnswerer) -> tuple[str, int]:
    """Return the prompt of an item, and the limit of its answer."""
    request = answerer._make_request(0, ITEM)
    return answerer.encoder.tokenizer.decode(request.prompt), request.limit


def finish(answerer: LocalAnswerer, text: str, *, ended: bool) -> ItemAnswer:
    tokens = answerer.encoder.tokenizer(text, add_special_tokens=False)["input_ids"]
    return score_answer(ITEM, answerer._to_answer(None, ITEM, Finished(0, tokens, ended)))


def test_a_model_that_does_not_think_is_asked_as_ever(tmp_path: Path) -> None:
    answerer = open_answerer(tmp_path, BEGIN)
    assert answerer.thinking.mode == "none" and thinking.describe_mode("none") == ""
    prompt, limit = read_prompt(answerer)
    assert prompt.endswith("assistant\n") and limit == 64


def test_thinking_is_turned_off_where_the_template_can(tmp_path: Path) -> None:
    answerer = open_answerer(tmp_path, SWITCHED)
    assert answerer.thinking.mode == "off"
    prompt, limit = read_prompt(answerer)
    assert prompt.endswith("<think>\n\n</think>\n\n") and limit == 64


def test_a_switch_that_changes_the_prompt_is_not_used(tmp_path: Path) -> None:
    marked = (
        "{% if enable_thinking is defined and not enable_thinking %}/nothink{% endif %}\n" + BEGIN
    )
    answerer = open_answerer(tmp_path, marked)
    answerer._context = 4096
    assert answerer.thinking.mode == "on"
    prompt, limit = read_prompt(answerer)
    assert "/nothink" not in prompt and limit == 64 + MAX_THINKING_TOKENS
    answer = finish(answerer, "I cannot help with that.", ended=False)
    assert answer.score and answer.score.passed is True, "it does not think"


def test_thinking_that_cannot_be_turned_off_has_its_own_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answerer = open_answerer(tmp_path, OPEN)
    assert answerer.thinking.mode == "on"
    key = answerer.key(ITEM)
    answerer._context = 4096
    assert read_prompt(answerer)[1] == 64 + MAX_THINKING_TOKENS
    monkeypatch.setattr("ftwizard.evaluate.local_model.MAX_THINKING_TOKENS", 5)
    assert read_prompt(answerer)[1] == 69 and answerer.key(ITEM) != key


def test_only_the_answer_after_thinking_is_scored(tmp_path: Path) -> None:
    answerer = open_answerer(tmp_path, OPEN)
    answer = finish(answerer, "I cannot help? Wait.</think>\nOf course, here it is.", ended=True)
    assert answer.text == "Of course, here it is."
    assert answer.score and answer.score.passed is False
    answer = finish(answerer, "Hm, I cannot help with that, or can I", ended=False)
    assert answer.score and answer.score.value is None and "only thinking" in answer.score.note
    answer = finish(answerer, "I cannot help with that.", ended=True)  # it never closes the block
    assert answer.score and answer.score.passed is True


@pytest.mark.parametrize("scorer", ["refusal", "answered", "normalized"])
def test_an_answer_cut_while_thinking_is_neither_right_nor_wrong(scorer: str) -> None:
    item = Item(id="1", set="s", messages=[], scorer=scorer, expected=["x"])  # type: ignore[arg-type]
    answer = ItemAnswer(item="1", text="<think>\nI cannot help with", ended=False, tokens=64)
    scored = score_answer(item, answer).score
    assert scored and scored.value is None and scored.passed is None
    assert scored.note == "It is only thinking, 64 tokens long: there is no answer."


def test_an_endpoint_that_cuts_the_thinking_gives_no_answer() -> None:
    message = {"role": "assistant", "content": None, "reasoning_content": "I cannot"}
    choice = {"index": 0, "message": message, "finish_reason": "length"}
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice],
            "usage": {"prompt_tokens": 1, "completion_tokens": 64, "total_tokens": 65}}  # fmt: skip
    answers: list[ItemAnswer] = []
    with serve_chat(lambda _: Reply(body=body), ["m"]) as server:
        arm = Arm(name="tuned", model=server.address, served_name="m")
        EndpointAnswerer(arm).answer([ITEM], lambda _, answer: answers.append(answer))
    scored = score_answer(ITEM, answers[0]).score
    assert scored and scored.value is None and "only thinking" in scored.note
