"""Answers of endpoints: limits, failures that pass, and failures that do not."""

from __future__ import annotations

import itertools
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.evaluate import endpoint, thinking
from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.endpoint import EndpointAnswerer
from ftwizard.evaluate.items import Item
from ftwizard.evaluate.runner import answer_all
from ftwizard.jobs.worker import Stopped
from ftwizard.runs.evaluation import ItemAnswer
from tests.doubles.chat_endpoint import Reply, error, serve_chat


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(endpoint, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(endpoint, "POLL_S", 0.02)
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path / "cache"))


def make_items(count: int) -> list[Item]:
    return [
        Item(
            id=f"i{n}",
            set="target",
            messages=[{"role": "user", "content": f"question {n}"}],
            scorer="contains",
            max_tokens=20,
        )
        for n in range(count)
    ]


def ask(arm: Arm, items: list[Item], **options: Any) -> dict[str, ItemAnswer]:
    answers: dict[str, ItemAnswer] = {}
    EndpointAnswerer(arm, **options).answer(
        items, lambda item, answer: answers.update({item.id: answer})
    )
    return answers


def echo(body: dict[str, Any]) -> Reply:
    return Reply("re " + body["messages"][-1]["content"], delay_s=0.02)


def test_answers_are_concurrent_and_greedy() -> None:
    with serve_chat(echo, ["tuned"]) as server:
        arm = Arm(name="tuned", model=server.address, system="Be brief.")
        answers = ask(arm, make_items(20))
    assert answers["i7"] == ItemAnswer(item="i7", text="re question 7", tokens=7)
    assert len(answers) == 20
    assert 2 <= server.most_open <= endpoint.MAX_CONCURRENCY
    request = server.requests[0]
    assert request["model"] == "tuned" and request["temperature"] == 0
    assert request["max_tokens"] == 20
    assert request["messages"][0] == {"role": "system", "content": "Be brief."}


def test_an_answer_at_the_limit_has_not_ended() -> None:
    with serve_chat(lambda body: Reply("and and", finish="length"), ["m"]) as server:
        answers = ask(Arm(name="a", model=server.address), make_items(1))
    assert not answers["i0"].ended and answers["i0"].text == "and and"


def test_rate_limits_slow_down_and_recover() -> None:
    """Every open request above two at once is refused, with the wait in the header."""
    server_slots = threading.Semaphore(2)

    def limit(body: dict[str, Any]) -> Reply:
        if not server_slots.acquire(blocking=False):
            return error(429, "Slow down", headers={"Retry-After": "0.05"})
        try:
            time.sleep(0.02)
            return echo(body)
        finally:
            server_slots.release()

    with serve_chat(limit, ["m"]) as server:
        answers = ask(Arm(name="a", model=server.address), make_items(20))
    assert {answer.text for answer in answers.values()} == {f"re question {n}" for n in range(20)}
    assert len(server.requests) < 60, "it does not hammer"


def test_the_limit_halves_once_per_round_and_grows_again() -> None:
    pace = endpoint._Pace()
    for _ in range(4):
        pace.record_refusal(10.0)
    assert pace.limit == endpoint.START_CONCURRENCY / 2, "requests that were open together"
    assert not pace.may_begin(0)
    pace.paused_until = 0.0
    for _ in range(100):
        pace.record_answer()
    assert pace.limit == endpoint.MAX_CONCURRENCY


def test_a_long_pause_ends_with_its_length() -> None:
    with (
        serve_chat(
            lambda body: error(429, "Slow down", headers={"Retry-After": "3600"}), ["m"]
        ) as server,
        pytest.raises(FtwizardError, match="asks to wait 1 h") as caught,
    ):
        ask(Arm(name="a", model=server.address), make_items(2))
    assert "continue" in caught.value.hint


def test_no_quota_is_not_waited_for() -> None:
    reply = error(429, "You exceeded your current quota", code="insufficient_quota")
    with (
        serve_chat(lambda body: reply, ["m"]) as server,
        pytest.raises(FtwizardError, match="no quota left"),
    ):
        ask(Arm(name="a", model=server.address), make_items(1))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "failure",
    [error(503, "Loading model"), Reply(closes=True), Reply(body=b"<html>oops"), Reply(body=[])],
    ids=["unavailable", "closed", "garbage", "other-json"],
)
def test_failures_that_pass_are_tried_again(failure: Reply) -> None:
    numbers = itertools.count()
    with serve_chat(lambda body: echo(body) if next(numbers) % 3 else failure, ["m"]) as server:
        answers = ask(Arm(name="a", model=server.address), make_items(9))
    assert {answer.text for answer in answers.values()} == {f"re question {n}" for n in range(9)}


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (error(500, "CUDA error"), "status 500, CUDA error"),
        (Reply(closes=True), "disconnected"),
        (Reply(body=b"<html>oops"), "not JSON"),
        (Reply(body={"choices": []}), "not a chat completion"),
    ],
    ids=["broken", "closed", "garbage", "no-choices"],
)
def test_an_endpoint_that_dies_ends_the_evaluation_which_continues_later(
    failure: Reply, reason: str, tmp_path: Path
) -> None:
    numbers = itertools.count()
    items = make_items(12)
    with serve_chat(lambda body: echo(body) if next(numbers) < 5 else failure, ["m"]) as server:
        arm = Arm(name="served", model=server.address)
        with pytest.raises(FtwizardError, match="does not answer, after 5 answers") as caught:
            answer_all([arm], items, tmp_path)
        assert reason in caught.value.message
        assert caught.value.hint == endpoint.KEPT
        before = len(server.requests)
        server.reply = echo
        answers = answer_all([arm], items, tmp_path)["served"]
        assert [answer.text for answer in answers] == [f"re question {n}" for n in range(12)]
        again = {request["messages"][0]["content"] for request in server.requests[before:]}
        assert len(again) == 7, "only what was missing"
        assert (tmp_path / "eval" / "served.jsonl").read_text().count("\n") == 12
        (tmp_path / "other").mkdir()
        before = len(server.requests)
        answer_all([arm], items, tmp_path / "other")
        assert len(server.requests) - before == 12, "another evaluation asks again"


def test_nobody_listens() -> None:
    with pytest.raises(FtwizardError, match=r"http://127.0.0.1:9/v1 does not answer, after 0"):
        ask(Arm(name="a", model="http://127.0.0.1:9"), make_items(1))


def test_a_hanging_endpoint_is_given_up() -> None:
    with (
        serve_chat(lambda body: Reply(delay_s=1.0), ["m"]) as server,
        pytest.raises(FtwizardError, match="no reply in time"),
    ):
        ask(Arm(name="a", model=server.address), make_items(2), timeout_s=0.3)


def test_one_item_that_hangs_is_unscored() -> None:
    def reply(body: dict[str, Any]) -> Reply:
        return Reply(delay_s=1.5) if "question 3" in str(body) else echo(body)

    with serve_chat(reply, ["m"]) as server:
        answers = ask(Arm(name="a", model=server.address), make_items(5), timeout_s=0.7)
    assert len(answers) == 5
    assert answers["i3"].score and answers["i3"].score.value is None
    assert answers["i3"].score.note == "no reply in time"
    assert answers["i4"].score is None


def test_an_item_that_is_refused_is_unscored_and_asked_again_next_time(tmp_path: Path) -> None:
    def reply(body: dict[str, Any]) -> Reply:
        if "question 3" in str(body):
            return error(400, "This model's maximum context length is 64 tokens.")
        return echo(body)

    with serve_chat(reply, ["m"]) as server:
        arm = Arm(name="a", model=server.address)
        answers = answer_all([arm], make_items(9), tmp_path)["a"]
        assert answers[3].score
        assert "maximum context length is 64" in answers[3].score.note
        server.requests.clear()
        answer_all([arm], make_items(9), tmp_path)
        assert len(server.requests) == 1


def test_requests_that_are_all_refused_are_an_error() -> None:
    with (
        serve_chat(lambda body: error(400, "No chat here"), ["m"]) as server,
        pytest.raises(
            FtwizardError,
            match=r"refuses every request, after 0 answers: status 400, No chat here\.",
        ),
    ):
        ask(Arm(name="a", model=server.address), make_items(9))


def test_options_that_a_model_does_not_take_are_replaced() -> None:
    def reply(body: dict[str, Any]) -> Reply:
        for name in ("max_tokens", "temperature"):
            if name in body:
                return error(400, f"Unsupported parameter: {name}", param=name)
        return echo(body)

    with serve_chat(reply, ["m"]) as server:
        answers = ask(Arm(name="a", model=server.address), make_items(9))
    assert all(answer.score is None for answer in answers.values())
    limit = server.requests[-1]["max_completion_tokens"]
    assert limit == 20 + endpoint.REASONING_TOKENS, "such a model reasons before it answers"


def test_the_key_comes_from_its_variable_and_never_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-openai")
    monkeypatch.setenv("MY_KEY", "sk-mine")
    with serve_chat(echo, ["m"]) as server:
        ask(Arm(name="a", model=server.address), make_items(1))
        assert set(server.keys) == {"Bearer none"}, "a key for OpenAI is not sent elsewhere"
        server.keys.clear()
        ask(Arm(name="a", model=server.address, key_variable="MY_KEY"), make_items(1))
        assert set(server.keys) == {"Bearer sk-mine"}
        server.reply = lambda body: error(401, "Incorrect API key provided: sk-mine")
        with pytest.raises(FtwizardError, match=r"rejected the key in MY_KEY") as caught:
            ask(Arm(name="a", model=server.address, key_variable="MY_KEY"), make_items(1))
        assert "sk-mine" not in caught.value.text
        server.reply = lambda body: error(500, "sk-mine broke it")
        with pytest.raises(FtwizardError) as caught:
            ask(Arm(name="a", model=server.address, key_variable="MY_KEY"), make_items(1))
        assert "sk-mine" not in caught.value.text
        server.reply = lambda body: error(401, "Unauthorized")
        with pytest.raises(FtwizardError, match="needs a key"):
            ask(Arm(name="a", model=server.address), make_items(1))
        with pytest.raises(FtwizardError, match="NO_KEY is not set"):
            ask(Arm(name="a", model=server.address, key_variable="NO_KEY"), make_items(1))


def test_a_wrong_model_name_lists_the_right_ones() -> None:
    wrong = error(404, "The model `x` does not exist.")
    with serve_chat(lambda body: wrong, ["base", "tuned"]) as server:
        with pytest.raises(FtwizardError, match=r"has no model x; it has base, tuned\."):
            ask(Arm(name="a", model=server.address, served_name="x"), make_items(1))
        with pytest.raises(FtwizardError, match=r"serves 2 models: base, tuned\."):
            ask(Arm(name="a", model=server.address), make_items(1))
        with pytest.raises(FtwizardError, match=r"There is no chat at .*/other/chat/completions"):
            address = server.address.replace("/v1", "/other")
            ask(Arm(name="a", model=address, served_name="x"), make_items(1))


def test_an_endpoint_without_a_list_of_models_is_asked_anyway() -> None:
    with serve_chat(echo) as server:
        assert len(ask(Arm(name="a", model=server.address), make_items(2))) == 2
    assert server.requests[0]["model"] == "default"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://", "is not the address"),
        ("https://user:secret@host/v1", "must not contain a key"),
    ],
)
def test_addresses_that_cannot_be_used(address: str, message: str) -> None:
    with pytest.raises(FtwizardError, match=message) as caught:
        EndpointAnswerer(Arm(name="a", model=address))
    assert "secret" not in caught.value.text


def test_addresses_are_completed() -> None:
    for address in ("http://h:8000", "http://h:8000/v1/", "http://h:8000/v1/chat/completions"):
        assert EndpointAnswerer(Arm(name="a", model=address)).address == "http://h:8000/v1"


def test_a_stop_ends_open_requests_at_once() -> None:
    def stop(work: float) -> None:
        if server.requests:
            raise Stopped

    with serve_chat(lambda body: Reply(delay_s=2.0), ["m"]) as server:
        start = time.monotonic()
        with pytest.raises(Stopped):
            EndpointAnswerer(Arm(name="a", model=server.address)).answer(
                make_items(3), lambda item, answer: None, stop
            )
        assert time.monotonic() - start < 1.9


def test_an_answer_that_was_only_reasoned_about_is_marked() -> None:
    def think(body: dict[str, Any]) -> Reply:
        reply = Reply("", finish="length").encode()
        details = b'"completion_tokens_details": {"reasoning_tokens": 7}, "completion_tokens"'
        return Reply(body=reply.replace(b'"completion_tokens"', details))

    with serve_chat(think, ["m"]) as server:
        answers = ask(Arm(name="a", model=server.address, served_name="m"), make_items(1))
    assert thinking.check_finished(answers["i0"]).score is not None


@pytest.mark.parametrize("code", ["content_filter", "content_policy_violation"])
def test_prompts_that_a_filter_refuses_are_unscored_and_the_others_answered(code: str) -> None:
    """The first ones are refused: the endpoint is not at fault."""

    def filter_first(body: dict[str, Any]) -> Reply:
        number = int(body["messages"][-1]["content"].split()[-1])
        return error(400, "The prompt was filtered", code=code) if number < 5 else echo(body)

    with serve_chat(filter_first, ["m"]) as server:
        answers = ask(Arm(name="a", model=server.address, served_name="m"), make_items(8))
    filtered = [name for name, answer in answers.items() if answer.score]
    assert sorted(filtered) == ["i0", "i1", "i2", "i3", "i4"]
    score = answers["i0"].score
    assert score and score.value is None and "content filter" in score.note
    assert answers["i7"].text == "re question 7"


def test_a_missing_deployment_is_named_without_a_list_of_models() -> None:
    def refuse(body: dict[str, Any]) -> Reply:
        return error(404, "The API deployment does not exist.", code="DeploymentNotFound")

    with serve_chat(refuse, ["base-model"]) as server, pytest.raises(FtwizardError) as raised:
        ask(Arm(name="a", model=server.address, served_name="mine"), make_items(1))
    assert "no deployment mine" in raised.value.message and "base-model" not in raised.value.text


def test_azure_addresses_keep_their_path() -> None:
    address = "https://one.openai.azure.com/openai/v1/"
    assert endpoint.normalize_address(address) == "https://one.openai.azure.com/openai/v1"
