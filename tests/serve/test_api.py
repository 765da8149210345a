"""Servers of both engines, asked by OpenAI's client: what they honor, and what they refuse."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import openai
import pytest

from ftwizard.cli import serve
from ftwizard.export import converter
from ftwizard.runs.served_model import Engine, ServedModel
from ftwizard.serve import probes, server_client
from tests.helpers import training
from tests.helpers.shared import make_once

pytestmark = pytest.mark.slow
ENGINES: tuple[Engine, ...] = ("transformers", "llama.cpp")
LLAMA = pytest.mark.parametrize("api", ["llama.cpp"], indirect=True)
HI: dict[str, Any] = {"role": "user", "content": "Hi"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}


class Api(NamedTuple):
    """A server that answers."""

    served: ServedModel
    client: openai.OpenAI

    def chat(self, **body: Any) -> Any:
        """Ask; without ``messages`` in ``body``, a greeting."""
        body = {"model": "run", "messages": [HI], "max_tokens": 4, "temperature": 0, **body}
        return self.client.post("/chat/completions", body=body, cast_to=object)

    def complete(self, **body: Any) -> Any:
        body = {"model": "run", "prompt": "Hi", "max_tokens": 4, "temperature": 0, **body}
        return self.client.post("/completions", body=body, cast_to=object)


@pytest.fixture(scope="module", params=ENGINES)
def api(
    request: pytest.FixtureRequest, small: Path, model_cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Api]:  # fmt: skip
    weights = small
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("serve")
        patch.setenv("FTWIZARD_CACHE", str(model_cache))
        patch.setenv("FTWIZARD_CONFIG", str(root / "config"))
        if request.param == "llama.cpp":

            def convert(folder: Path) -> None:
                converter.convert(
                    small, folder / "small.gguf", "bf16", converter.find(), lambda: None
                )

            weights = make_once(tmp_path_factory, "small-gguf", convert) / "small.gguf"
        run = training.prepare(root, "run", model=small)
        key = serve._make_key()
        job = serve._create_job(run, weights, 0, key)
        with serve._start(job) as process:
            served = serve._wait_until_ready(job, process)
            assert served.engine == request.param
            client = openai.OpenAI(
                base_url=served.url, api_key=key.read_text().strip(), max_retries=0
            )
            yield Api(served, client)
            process.terminate()
            assert process.wait(serve.GRACE_S) == 0


def refusal(error: openai.APIStatusError) -> dict[str, Any]:
    """Return the error of a refusal, in OpenAI's form."""
    body = error.response.json()
    assert body.keys() == {"error"} and body["error"].keys() == {"message", "type", "param", "code"}
    assert body["error"]["type"] == "invalid_request_error"
    return dict(body["error"])


REFUSED: dict[str, tuple[dict[str, Any], int, str | None, str]] = {
    "two answers": ({"n": 2}, 400, "n", "unsupported_parameter"),
    "answers as text": ({"n": "2"}, 400, "n", "invalid_value"),
    "an unknown parameter": ({"beams": 2}, 400, "beams", "unknown_parameter"),
    "audio": ({"modalities": ["text", "audio"]}, 400, "modalities", "unknown_parameter"),
    "functions": ({"functions": []}, 400, "functions", "unknown_parameter"),
    "no messages": ({"messages": None}, 400, "messages", "invalid_value"),
    "an empty list of messages": ({"messages": []}, 400, "messages", "invalid_value"),
    "messages as text": ({"messages": "Hi"}, 400, "messages", "invalid_value"),
    "a message as text": ({"messages": ["Hi"]}, 400, "messages", "invalid_value"),
    "a message without a role": ({"messages": [{"content": "Hi"}]}, 400, "messages", "invalid_value"),
    "an unknown role": ({"messages": [{**HI, "role": "alien"}]}, 400, "messages", "invalid_value"),
    "no content": ({"messages": [{"role": "user"}]}, 400, "messages", "invalid_value"),
    "a refusal as a list": (
        {"messages": [{"role": "assistant", "content": None, "refusal": [None]}]},
        400, "messages", "invalid_value",
    ),
    "an image": (
        {"messages": [{**HI, "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
        400, "messages", "invalid_value",
    ),
    "a call whose arguments are a list": (
        {"messages": [HI, {"role": "assistant", "tool_calls": [
            {**CALL, "function": {"name": "f", "arguments": "[]"}}]}]},
        400, "messages", "invalid_value",
    ),
    "no model": ({"model": None}, 400, "model", "invalid_value"),
    "another model": ({"model": "gpt-4o"}, 404, "model", "model_not_found"),
    "a temperature as text": ({"temperature": "0"}, 400, "temperature", "invalid_value"),
    "a temperature of 3": ({"temperature": 3}, 400, "temperature", "invalid_value"),
    "no tokens": ({"max_tokens": 0}, 400, "max_tokens", "invalid_value"),
    "a seed as text": ({"seed": "a"}, 400, "seed", "invalid_value"),
    "a negative seed": ({"seed": -1}, 400, "seed", "invalid_value"),
    "a stop that is a number": ({"stop": 1}, 400, "stop", "invalid_value"),
    "a tool without a name": (
        {"tools": [{"type": "function", "function": {}}]}, 400, "tools", "invalid_value",
    ),
    "an unknown form": ({"response_format": {"type": "xml"}}, 400, "response_format", "invalid_value"),
    "a schema that is missing": (
        {"response_format": {"type": "json_schema"}}, 400, "response_format", "invalid_value",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_both_engines_refuse_the_same(api: Api, name: str) -> None:
    body, status, param, code = REFUSED[name]
    with pytest.raises(openai.APIStatusError) as caught:
        api.chat(**body)
    error = refusal(caught.value)
    assert (caught.value.status_code, error["param"], error["code"]) == (status, param, code), error
    assert 10 < len(error["message"]) < 300


HONORED_BY_LLAMA: dict[str, dict[str, Any]] = {
    "logprobs": {"logprobs": True},
    "top_logprobs": {"logprobs": True, "top_logprobs": 2},
    "response_format": {"response_format": {"type": "json_object"}},
    "stop": {"stop": "x"},
    "logit_bias": {"logit_bias": {"5": 1}},
    "frequency_penalty": {"frequency_penalty": 1},
    "presence_penalty": {"presence_penalty": 1},
    "tool_choice": {"tools": [TOOL], "tool_choice": "none"},
    "parallel_tool_calls": {"tools": [TOOL], "parallel_tool_calls": False},
}


@pytest.mark.parametrize("name", HONORED_BY_LLAMA)
def test_what_only_llama_honors_is_refused_with_the_reason(api: Api, name: str) -> None:
    if api.served.engine == "llama.cpp":
        assert api.chat(**HONORED_BY_LLAMA[name])["choices"]
        return
    with pytest.raises(openai.BadRequestError, match=r"llama\.cpp, which does") as caught:
        api.chat(**HONORED_BY_LLAMA[name])
    assert refusal(caught.value)["code"] == "unsupported_parameter"


def test_values_that_ask_for_nothing_are_taken(api: Api) -> None:
    answer = api.chat(
        n=1, stop=None, logprobs=False, response_format={"type": "text"}, tool_choice="auto",
        frequency_penalty=0, logit_bias={}, user="ada", store=False, metadata={"a": "b"}, seed=3,
        functions=None, tools=[],
    )  # fmt: skip
    assert answer == {**api.chat(seed=3), "id": answer["id"], "created": answer["created"]} | {
        key: answer[key] for key in ("timings", "system_fingerprint") if key in answer
    }


@LLAMA
def test_llama_gives_logprobs_and_json(api: Api) -> None:
    steps = api.chat(logprobs=True, top_logprobs=2)["choices"][0]["logprobs"]["content"]
    assert len(steps) == 4 and all(len(step["top_logprobs"]) == 2 for step in steps)
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}
    text = api.chat(response_format=form, max_tokens=80)["choices"][0]["message"]["content"]
    assert isinstance(json.loads(text)["a"], bool)


def test_messages_in_every_form_are_answered(api: Api) -> None:
    parts = [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]
    joined = api.chat(messages=[HI])["usage"]["prompt_tokens"]
    assert api.chat(messages=[{**HI, "content": parts}])["usage"]["prompt_tokens"] == joined
    called = {"role": "assistant", "content": "Wait.", "tool_calls": [CALL]}
    result = {"role": "tool", "tool_call_id": "c", "content": "4"}
    answer = api.chat(messages=[HI, called, result], tools=[TOOL])
    assert answer["choices"][0]["message"]["role"] == "assistant"
    silent = api.chat(messages=[HI, {**called, "content": None}, result], tools=[TOOL])
    assert answer["usage"]["prompt_tokens"] > silent["usage"]["prompt_tokens"]


def test_temperature_and_seed(api: Api) -> None:
    def ask(**options: Any) -> str:
        return str(api.chat(max_tokens=12, **options)["choices"][0]["message"]["content"])

    assert ask() == ask(seed=1) == ask(seed=2)
    assert ask(temperature=2, seed=1) == ask(temperature=2, seed=1)
    assert len({ask(temperature=2, seed=seed) for seed in range(3)}) > 1


def test_stream_ends_with_the_usage(api: Api) -> None:
    stream = api.client.chat.completions.create(
        model="run", messages=[{"role": "user", "content": "Hi"}], max_tokens=4, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    chunks = list(stream)
    assert chunks[-1].usage and chunks[-1].usage.completion_tokens == 4
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"echo": True}, "echo"),
        ({"suffix": "b"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"n": 2}, "n"),
        ({"max_completion_tokens": 2}, "max_completion_tokens"),
    ],
)
def test_text_completions(api: Api, body: dict[str, Any], param: str) -> None:
    assert api.complete(echo=False, best_of=1)["choices"][0]["finish_reason"] == "length"
    with pytest.raises(openai.BadRequestError) as caught:
        api.complete(**body)
    assert refusal(caught.value)["param"] == param


def test_errors_of_the_engine_have_the_same_form(api: Api) -> None:
    for path in ("/chat/completions", "/completions"):
        with pytest.raises(openai.APIStatusError) as caught:
            api.client.get(path, cast_to=object)
        assert caught.value.status_code in (404, 405) and refusal(caught.value)["message"]
    with pytest.raises(openai.NotFoundError, match="no such path") as missing:
        api.client.post("/embeddings", body={}, cast_to=object)
    assert refusal(missing.value)["code"] == "unknown_url"
    with pytest.raises(openai.AuthenticationError, match="missing or wrong") as denied:
        api.client.with_options(api_key="guess").models.list()
    assert refusal(denied.value)["code"] == "invalid_api_key"
    assert [model.id for model in api.client.models.list().data] == ["run"]
    broken = api.client._client.post(f"{api.served.url}/chat/completions", content=b"{", headers={
        "Authorization": f"Bearer {api.client.api_key}"})  # fmt: skip
    assert broken.status_code == 400 and "not valid JSON" in broken.json()["error"]["message"]


@LLAMA
def test_verify_reads_the_tokens_of_a_prompt(api: Api) -> None:
    key = str(api.client.api_key)
    client = server_client.Client(server_client.Server(url=api.served.url, model="run", key=key))
    probe = probes.Probe(messages=[HI])
    assert client.serves_gguf()
    assert len(client.tokenize(probe) or []) == api.chat()["usage"]["prompt_tokens"]


@LLAMA
def test_client_that_leaves_ends_its_answer(api: Api) -> None:
    with pytest.raises(openai.APITimeoutError):
        api.client.with_options(timeout=0.5).chat.completions.create(
            model="run", messages=[{"role": "user", "content": "Hi"}], max_tokens=8000,
            logit_bias={"2": -100},
        )  # fmt: skip
    started = time.monotonic()
    api.chat()
    assert time.monotonic() - started < 5


@LLAMA
def test_too_long_prompt_is_refused(api: Api) -> None:
    with pytest.raises(openai.BadRequestError, match="context") as caught:
        api.chat(messages=[{**HI, "content": "a b " * 9000}])
    assert refusal(caught.value)["param"] is None
