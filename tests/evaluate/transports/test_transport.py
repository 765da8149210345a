"""Evaluation and chat of models that are asked by an SDK, on loopback."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.evaluate import endpoint, runner, thinking
from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.endpoint import EndpointAnswerer
from ftwizard.evaluate.hosted_chat import HostedModels
from ftwizard.evaluate.items import Item
from ftwizard.evaluate.transports import converse
from ftwizard.jobs.worker import Stopped
from ftwizard.providers.base import Endpoint
from ftwizard.providers.endpoints import Endpoints
from ftwizard.runs.chat_protocol import AnswerRequest, ReadyEvent
from ftwizard.runs.evaluation import ItemAnswer
from tests.doubles.converse_endpoint import ConverseEndpoint, ConverseReply, refuse, serve_converse
from tests.doubles.gemini_endpoint import (
    GeminiEndpoint,
    GeminiReply,
    refuse_gemini,
    serve_gemini,
    write_service_account,
)

ARN = "arn:aws:bedrock:us-east-1:123456789012:custom-model-deployment/abc123abc123"
TUNED = "projects/123/locations/us/endpoints/456"
BEDROCK, VERTEX = "bedrock://us-east-1", "vertex://demo-project/us-central1"
READY = ReadyEvent(
    run="one",
    base_name="base",
    step=1,
    device="there",
    has_base=True,
    has_template=True,
    system=None,
)


def make_items(count: int) -> list[Item]:
    return [
        Item(
            id=f"i{n}", set="target", messages=[{"role": "user", "content": f"question {n}"}],
            scorer="contains", max_tokens=20,
        )
        for n in range(count)
    ]  # fmt: skip


def ask(address: str, name: str, items: list[Item], **options: Any) -> dict[str, ItemAnswer]:
    arm = Arm(name="tuned", model=address, served_name=name, **options)
    answers: dict[str, ItemAnswer] = {}
    EndpointAnswerer(arm).answer(items, lambda item, answer: answers.update({item.id: answer}))
    return answers


def echo_converse(body: dict[str, Any]) -> ConverseReply:
    return ConverseReply("re " + body["messages"][-1]["content"][0]["text"])


def echo_gemini(body: dict[str, Any]) -> GeminiReply:
    return GeminiReply("re ", body["contents"][-1]["parts"][0]["text"])


@pytest.fixture
def bedrock(monkeypatch: pytest.MonkeyPatch) -> Iterator[ConverseEndpoint]:
    monkeypatch.setattr(converse, "THROTTLED_S", 0.02)
    monkeypatch.setattr(endpoint, "FIRST_INTERVAL_S", 0.02)
    monkeypatch.setattr(endpoint, "MIN_INTERVAL_S", 0.001)
    with serve_converse(echo_converse) as served:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", served.address)
        yield served


@pytest.fixture
def vertex(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[GeminiEndpoint]:
    monkeypatch.setattr(endpoint, "FIRST_INTERVAL_S", 0.02)
    monkeypatch.setattr(endpoint, "MIN_INTERVAL_S", 0.001)
    with serve_gemini(echo_gemini) as served:
        write_service_account(tmp_path / "key.json", served.address)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", served.address)
        yield served


def test_bedrock_answers_items(bedrock: ConverseEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "another-key")
    answers = ask(BEDROCK, ARN, make_items(6), system="Be brief.")
    assert answers["i4"] == ItemAnswer(item="i4", text="re question 4", tokens=7)
    assert len(answers) == 6
    request = bedrock.requests[0]
    assert request["modelId"] == ARN and request["system"] == [{"text": "Be brief."}]
    assert request["inferenceConfig"] == {"maxTokens": 20, "temperature": 0}
    assert request["authorization"].startswith("AWS4-HMAC-SHA256"), "never a token for another API"
    assert "us-east-1/bedrock" in request["authorization"]
    ask("bedrock://us-west-2", ARN, make_items(1))
    assert "us-east-1/bedrock" in bedrock.requests[-1]["authorization"], "the region of its name"


def test_vertex_answers_items_in_the_location_of_the_model(vertex: GeminiEndpoint) -> None:
    assert ask(VERTEX, TUNED, make_items(3))["i2"].text == "re question 2"
    assert {each["path"] for each in vertex.requests} == {f"/v1beta1/{TUNED}:generateContent"}
    config = vertex.requests[0]["generationConfig"]
    assert config["maxOutputTokens"] == 20
    assert list(config["thinkingConfig"].values()) == ["MINIMAL"]
    ask(VERTEX, "gemini-3.5-flash", make_items(1))
    assert vertex.requests[-1]["path"] == (
        "/v1beta1/projects/demo-project/locations/us-central1/publishers/google/models/"
        "gemini-3.5-flash:generateContent"
    )


def test_a_model_without_levels_of_thinking_is_asked_without(vertex: GeminiEndpoint) -> None:
    def refuse_level(body: dict[str, Any]) -> GeminiReply:
        if "thinkingConfig" in body.get("generationConfig", {}):
            text = "Thinking level is not supported by this model."
            return refuse_gemini(400, "INVALID_ARGUMENT", text)
        return echo_gemini(body)

    vertex.reply = refuse_level
    assert ask(VERTEX, "gemini-2.5-flash", make_items(5))["i3"].text == "re question 3"
    assert len(vertex.requests) <= 5 + endpoint.START_CONCURRENCY
    models = make_models(VERTEX, "gemini-2.5-flash")
    assert models.answer(make_request()).text == "re Hi"


def test_thoughts_that_take_all_of_the_limit_are_no_answer(vertex: GeminiEndpoint) -> None:
    vertex.reply = lambda body: GeminiReply(finish="MAX_TOKENS", thoughts=20)
    answer = ask(VERTEX, TUNED, make_items(1))["i0"]
    assert thinking.is_unfinished(thinking.check_finished(answer))


def throttle(
    reply: Callable[[dict[str, Any]], Any], refusal: Any, interval_s: float
) -> Callable[[dict[str, Any]], Any]:
    """Return a reply that answers one request in each interval."""
    lock, last = threading.Lock(), [0.0]

    def answer(body: dict[str, Any]) -> Any:
        with lock:
            if time.monotonic() - last[0] < interval_s:
                return refusal
            last[0] = time.monotonic()
        return reply(body)

    return answer


def test_throttling_is_outlasted(
    bedrock: ConverseEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More refusals than would end the evaluation of an endpoint with limits of its own."""
    refusals = iter(range(3 * endpoint.MAX_REFUSALS))
    monkeypatch.setattr(endpoint, "MAX_INTERVAL_S", 0.02)
    bedrock.reply = lambda body: (
        refuse(429, "ThrottlingException")
        if next(refusals, None) is not None
        else echo_converse(body)
    )
    assert ask(BEDROCK, ARN, make_items(3))["i2"].text == "re question 2"
    assert len(bedrock.requests) >= 3 * endpoint.MAX_REFUSALS


def test_throttling_teaches_the_pace(vertex: GeminiEndpoint) -> None:
    refusal = refuse_gemini(429, "RESOURCE_EXHAUSTED", "Resource exhausted.")
    vertex.reply = throttle(echo_gemini, refusal, 0.05)
    items = make_items(12)
    assert len(ask(VERTEX, TUNED, items)) == 12
    assert len(vertex.requests) < 4 * len(items), "it does not hammer"


def test_throttling_without_end_ends_the_evaluation(
    bedrock: ConverseEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "MAX_THROTTLED_S", 0.3)
    bedrock.reply = lambda body: refuse(429, "ThrottlingException")
    with pytest.raises(
        FtwizardError, match="refuses all further requests, after 0 answers"
    ) as error:
        ask(BEDROCK, ARN, make_items(2))
    assert "run the same command again" in error.value.hint


def test_the_rate_of_a_model_is_kept(
    bedrock: ConverseEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "RATE_MARGIN", 1.0)
    start = time.monotonic()
    assert len(ask(BEDROCK, ARN, make_items(4), requests_per_minute=600)) == 4  # one in 0.1 s
    # A request may arrive late, never early: the last one begins three intervals after the first.
    assert bedrock.times[-1] - start > 0.3, "they began together"
    answerer = EndpointAnswerer(
        Arm(name="tuned", model=BEDROCK, served_name=ARN, requests_per_minute=4)
    )
    assert answerer.requests_per_minute == 4


def test_the_limit_of_a_day_is_not_waited_for(bedrock: ConverseEndpoint) -> None:
    text = "Too many tokens per day, please wait before trying again."
    bedrock.reply = lambda body: refuse(429, "ThrottlingException", text)
    with pytest.raises(FtwizardError, match="has no quota left"):
        ask(BEDROCK, ARN, make_items(1))


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (refuse(403, "AccessDeniedException", "You may not."), "refuses to answer.*You may not"),
        (refuse(403, "ExpiredTokenException", "It expired."), "refuses to answer.*It expired"),
        (
            refuse(404, "ResourceNotFoundException", "Model not found."),
            "does not have.*abc123abc123",
        ),
        (refuse(400, "ValidationException", "No."), "refuses every request.*No"),
    ],
)
def test_refusals_say_why(bedrock: ConverseEndpoint, reply: ConverseReply, text: str) -> None:
    bedrock.reply = lambda body: reply
    with pytest.raises(FtwizardError, match=text) as error:
        ask(BEDROCK, ARN, make_items(3))
    assert "testing" not in error.value.text


def test_missing_credentials_say_how_to_log_in(
    bedrock: ConverseEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(FtwizardError, match="aws login"):
        ask(BEDROCK, ARN, make_items(1))
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(FtwizardError, match="nobody"):
        ask(BEDROCK, ARN, make_items(1))
    assert bedrock.requests == []


def test_revoked_credentials_say_how_to_log_in(vertex: GeminiEndpoint) -> None:
    vertex.is_revoked = True
    with pytest.raises(FtwizardError, match="gcloud auth application-default login"):
        ask(VERTEX, TUNED, make_items(1))


def count_asked(requests: list[dict[str, Any]]) -> dict[str, int]:
    """Return how often each question was asked."""
    texts = (json.dumps(request.get("messages") or request["contents"]) for request in requests)
    return Counter(re.findall(r"question (\d+)", " ".join(texts)))


FAULTS: dict[str, tuple[ConverseReply, GeminiReply]] = {
    "0": (refuse(429, "ThrottlingException"), refuse_gemini(429, "RESOURCE_EXHAUSTED", "Slow.")),
    "1": (refuse(503, "ServiceUnavailableException"), refuse_gemini(503, "UNAVAILABLE", "Down.")),
    "2": (refuse(429, "ModelNotReadyException"), refuse_gemini(500, "INTERNAL", "Sorry.")),
    "3": (ConverseReply("x", stop="guardrail_intervened"), GeminiReply(finish="SAFETY")),
    "4": (ConverseReply(content=[]), GeminiReply()),
    "5": (ConverseReply("ha", stop="max_tokens"), GeminiReply("ha", finish="MAX_TOKENS")),
    "6": (
        refuse(400, "ValidationException", "Bad."),
        refuse_gemini(400, "INVALID_ARGUMENT", "Bad."),
    ),
}
"""What the first request of a question gets, at Bedrock and at Vertex AI."""
PASSING = ("0", "1", "2")
"""Questions whose fault passes, so that they are asked once more."""


@pytest.mark.parametrize("is_vertex", [False, True])
def test_each_item_counts_once_whatever_goes_wrong(
    bedrock: ConverseEndpoint, vertex: GeminiEndpoint, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, is_vertex: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(endpoint, "FIRST_WAIT_S", 0.01)
    struck: set[str] = set()

    def strike(body: dict[str, Any]) -> Any:
        (number,) = count_asked([body])
        if number in FAULTS and number not in struck:
            struck.add(number)
            return FAULTS[number][is_vertex]
        return echo_gemini(body) if is_vertex else echo_converse(body)

    server: Any = vertex if is_vertex else bedrock
    server.reply = strike
    address, name = (VERTEX, TUNED) if is_vertex else (BEDROCK, ARN)
    arm = Arm(name="tuned", model=address, served_name=name)
    answers = {
        each.item: each for each in runner.answer_all([arm], make_items(9), tmp_path)["tuned"]
    }
    asked = {str(n): 2 if str(n) in PASSING else 1 for n in range(9)}
    assert len(answers) == 9 and count_asked(server.requests) == asked
    assert answers["i2"].text == "re question 2"
    withheld, empty, cut, refused = (answers[f"i{n}"] for n in range(3, 7))
    assert withheld.score and "content filter" in withheld.score.note and withheld.text == ""
    assert empty.score is None and empty.text == ""
    assert cut.text == "ha" and not cut.ended
    assert refused.score and "Bad" in refused.score.note
    server.requests.clear()
    runner.answer_all([arm], make_items(9), tmp_path)
    assert set(count_asked(server.requests)) == {"3", "6"}, "only what has no answer is asked again"


@pytest.mark.parametrize("is_vertex", [False, True])
def test_an_evaluation_continues_after_a_login_that_expired(
    bedrock: ConverseEndpoint, vertex: GeminiEndpoint, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, is_vertex: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(endpoint, "START_CONCURRENCY", 1)
    monkeypatch.setattr(endpoint, "MAX_CONCURRENCY", 1)
    server: Any = vertex if is_vertex else bedrock
    works = echo_gemini if is_vertex else echo_converse
    expired: tuple[Any, Any] = (
        refuse(403, "ExpiredTokenException", "The token expired."),
        refuse_gemini(401, "UNAUTHENTICATED", "The token expired."),
    )
    server.reply = lambda body: works(body) if len(server.requests) <= 3 else expired[is_vertex]
    address, name = (VERTEX, TUNED) if is_vertex else (BEDROCK, ARN)
    arm = Arm(name="tuned", model=address, served_name=name)
    with pytest.raises(FtwizardError, match=r"Log in again: (aws|gcloud)") as error:
        runner.answer_all([arm], make_items(6), tmp_path)
    assert "answers so far are kept" in error.value.hint
    assert len(server.requests) == 4
    server.reply = works
    assert len(runner.answer_all([arm], make_items(6), tmp_path)["tuned"]) == 6
    assert count_asked(server.requests) == {"0": 1, "1": 1, "2": 1, "3": 2, "4": 1, "5": 1}


def test_a_stop_does_not_wait_for_the_platform(bedrock: ConverseEndpoint) -> None:
    is_released = threading.Event()

    def wait(body: dict[str, Any]) -> ConverseReply:
        is_released.wait(60)
        return ConverseReply("late")

    def stop(work: float) -> None:
        if bedrock.requests:
            raise Stopped

    bedrock.reply = wait
    answerer = EndpointAnswerer(Arm(name="tuned", model=BEDROCK, served_name=ARN))
    with pytest.raises(Stopped):
        answerer.answer(make_items(1), lambda item, answer: None, stop)
    assert not is_released.is_set(), "the model still has not answered"
    is_released.set()


def test_a_dead_platform_ends_the_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://127.0.0.1:9")
    with pytest.raises(FtwizardError, match="does not answer"):
        ask(BEDROCK, ARN, make_items(1))


@pytest.mark.parametrize("address", ["bedrock://", "vertex://one", "bedrock://a/b?c", "ftp://x"])
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(FtwizardError, match="not the address"):
        EndpointAnswerer(Arm(name="tuned", model=address))


def make_models(address: str, name: str) -> HostedModels:
    tuned = Endpoint(address=address, served_name=name, key_variable="")
    return HostedModels(Endpoints(tuned, None), "the platform", READY)


def make_request() -> AnswerRequest:
    return AnswerRequest(
        id=1, side="tuned", messages=[{"role": "user", "content": "Hi"}], max_new_tokens=9,
    )  # fmt: skip


def test_bedrock_chats(bedrock: ConverseEndpoint) -> None:
    models = make_models(BEDROCK, ARN)
    texts: list[str] = []
    answer = models.answer(make_request(), texts.append)
    assert (answer.text, answer.reason, answer.tokens) == ("re Hi", "end", 7)
    bedrock.reply = lambda body: ConverseReply("One two", stop="max_tokens")
    assert models.answer(make_request()).reason == "limit"
    assert models.answer(make_request(), is_stopped=lambda: True).reason == "stopped"


def test_an_error_in_the_middle_of_an_answer_says_why(bedrock: ConverseEndpoint) -> None:
    bedrock.reply = lambda body: ConverseReply("One two", ends_with="throttlingException")
    with pytest.raises(FtwizardError, match="Too many requests"):
        make_models(BEDROCK, ARN).answer(make_request())
    bedrock.reply = lambda body: refuse(404, "ResourceNotFoundException", "Model not found.")
    with pytest.raises(FtwizardError, match="Model not found") as error:
        make_models(BEDROCK, ARN).answer(make_request())
    assert "still there, and deployed" in error.value.hint


def test_vertex_chats(vertex: GeminiEndpoint) -> None:
    answer = make_models(VERTEX, TUNED).answer(make_request())
    assert (answer.text, answer.reason, answer.tokens) == ("re Hi", "end", 7)
    assert vertex.requests[0]["path"] == f"/v1beta1/{TUNED}:streamGenerateContent?alt=sse"
    vertex.is_revoked = True
    with pytest.raises(FtwizardError, match="expired or revoked") as error:
        make_models(VERTEX, TUNED).answer(make_request())
    assert "Log in again" in error.value.hint
