"""Commands that ask the model of a hosted run: ``eval`` and ``chat``, with only the key they need."""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftwizard.__main__ import main
from ftwizard.cli import evaluate, hosted_run, parser, run_job
from ftwizard.errors import FtwizardError
from ftwizard.evaluate import endpoint, hosted_chat
from ftwizard.evaluate import job as evaluation_job
from ftwizard.jobs.folder import Attempt, JobFolder, State, write_json
from ftwizard.jobs.status import Status
from ftwizard.jobs.worker import Worker
from ftwizard.plan.schema import Foundry
from ftwizard.providers.base import ProviderError
from ftwizard.runs import evaluation_files, remote
from ftwizard.runs.chat_protocol import AnswerRequest
from ftwizard.screens import subprocesses
from tests.doubles.chat_endpoint import ChatEndpoint, Reply, error, serve_chat
from tests.evaluate.test_hosted_evaluation import TESTS, make_run, reply_by_model
from tests.helpers.hosted import BASE, TUNED, make_ended, make_plan, make_remote
from tests.helpers.training import own_signals

CHECKPOINT = f"{TUNED}:ckpt-step-10"
KEY = "sk-test-secret-of-nobody"


def answer(body: dict[str, Any]) -> Reply:
    """The first checkpoint knows half of the codes."""
    if body["messages"][-1]["content"] == "Hi":  # the look for a deployment
        return reply_by_model(body)
    if body["model"] == CHECKPOINT:
        number = int(body["messages"][-1]["content"].rstrip("?").split()[-1])
        return reply_by_model(body | {"model": TUNED if number % 2 else BASE})
    return reply_by_model(body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ChatEndpoint]:
    monkeypatch.setattr(endpoint, "POLL_S", 0.01)
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path / "cache"))
    with serve_chat(answer, [BASE, TUNED]) as served:
        monkeypatch.setenv("OPENAI_BASE_URL", served.address)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", served.address.removesuffix("/v1"))
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
        monkeypatch.setenv("TOGETHER_API_KEY", "sk-of-another")
        monkeypatch.setenv("HF_TOKEN", "hf-of-another")
        yield served


@pytest.fixture
def run(home: Path, tmp_path: Path) -> JobFolder:
    folder, _ = make_run(tmp_path)
    folder.plan.write_text("none")
    write_json(folder.state, State(state="ended", attempt=1, end_reason="finished", started=1.0))
    return folder


@pytest.fixture
def environments(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Run the jobs of ``ftwizard eval`` in this process; return their environments."""
    environments: list[dict[str, str]] = []

    def run_here(job: JobFolder, environment: dict[str, str], again: str) -> None:
        environments.append(environment)
        write_json(job.attempt(1), Attempt(number=1, started=0, host="", argv=[]))
        with own_signals():
            worker = Worker(job)
            try:
                outcome = evaluation_job.run(worker)
            finally:
                worker.events.close()
        write_json(job.result, outcome.result)

    monkeypatch.setattr(run_job, "run", run_here)
    return environments


def run_eval(*words: str) -> int:
    return evaluate.evaluate(parser.parser().parse_args(["eval", *words]))


def test_run_is_evaluated_at_the_platform_with_only_its_key(
    run: JobFolder, server: ChatEndpoint, environments: list[dict[str, str]],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert run_eval("one", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["sets"]["target"]["arms"]["tuned"]["score"] == 1.0
    assert len(document["sets"]["target"]["flips"]["fixed"]) == TESTS
    own = evaluation_files.read_evaluation(run)
    newest = evaluation_files.find_newest(run)
    assert own and newest and newest.evaluation == own
    (variables,) = environments
    secrets = {name for name in variables if name.endswith(("KEY", "TOKEN"))}
    assert secrets == {"OPENAI_API_KEY"}
    written = [path.read_bytes() for path in run.path.rglob("*") if path.is_file()]
    assert not any(KEY.encode() in data for data in written)


def test_another_number_of_items_asks_only_what_is_not_answered(
    run: JobFolder, server: ChatEndpoint, environments: list[dict[str, str]],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert run_eval("one", "--json") == 0
    server.requests.clear()
    capsys.readouterr()
    assert run_eval("one", "--max-items", "20", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["sets"]["target"]["arms"]["tuned"]["n"] == 20
    assert not server.requests


def test_what_an_evaluation_costs_is_said_before(
    run: JobFolder, server: ChatEndpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    run_eval("one")
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("· OpenAI bills the tokens") and "1 tuned model" in first


def test_checkpoints_that_the_platform_keeps_are_evaluated(
    run: JobFolder, server: ChatEndpoint, environments: list[dict[str, str]],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert run_eval("one", "--checkpoint", "10", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["sets"]["target"]["arms"]["tuned"]["score"] == 0.5
    assert evaluation_files.read_evaluation(run) is None, "it is not the run's result"
    assert run_eval("one", "--checkpoints", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    scores = {one["name"]: one["scores"]["target"] for one in document["candidates"]}
    assert scores == {"checkpoint-10": 0.5, "checkpoint-20": 1.0}
    assert document["best"] == "checkpoint-20"


def test_stop_asks_nothing_about_a_job_that_has_ended(run: JobFolder) -> None:
    arguments = parser.parser().parse_args(["stop", "one"])
    assert hosted_run.end(run, arguments) is None
    record = remote.read(run)
    assert record is not None
    remote.write(run, msgspec.structs.replace(record, state="running", status="running"))
    with pytest.raises(FtwizardError, match="follows a job at OpenAI"):
        hosted_run.end(run, arguments)


def test_canceling_a_job_that_has_ended_names_how_to_stop_its_evaluation(
    run: JobFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = parser.parser().parse_args(["stop", "one", "--cancel"])
    assert hosted_run.end(run, arguments) == 0
    assert "--detach" not in capsys.readouterr().out
    monkeypatch.setattr(hosted_run, "observe", lambda folder: Status(state="running", attempt=1))
    assert hosted_run.end(run, arguments) == 0
    assert "ended already: succeeded. To stop what follows it here: ftwizard stop one --detach" in (
        capsys.readouterr().out
    )


def test_checkpoint_that_is_not_kept_lists_the_others(run: JobFolder, server: ChatEndpoint) -> None:
    with pytest.raises(FtwizardError, match="OpenAI has no checkpoint 15 of run one") as raised:
        run_eval("one", "--checkpoint", "15")
    assert raised.value.hint == "It keeps: 10, 20."
    with pytest.raises(FtwizardError, match="no adapter here to weaken"):
        run_eval("one", "--sweep")


def test_wrong_address_in_the_run_folder_gets_no_key(
    run: JobFolder, server: ChatEndpoint, environments: list[dict[str, str]]
) -> None:
    """The address is that of the environment: a folder may be somebody else's."""
    with serve_chat(answer, [TUNED]) as other:
        elsewhere = remote.RemoteEndpoint(
            address=other.address, served_name=TUNED, key_variable="HF_TOKEN"
        )
        remote.write(run, make_remote(tuned_endpoint=elsewhere, endpoint=other.address))
        run_eval("one", "--json")
        assert not other.requests and server.requests


def test_evaluation_without_a_key_names_the_variable(
    run: JobFolder, server: ChatEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ProviderError, match="OPENAI_API_KEY is not set"):
        run_eval("one")


def move_to_foundry(run: JobFolder, server: ChatEndpoint, models: dict[str, str]) -> None:
    """Make the run one of Foundry, which answers by deployments: ``models`` by their names."""
    plan = msgspec.convert(run.read_job().plan, type(make_plan()))
    plan = msgspec.structs.replace(plan, provider="foundry", foundry=Foundry())
    attempt = msgspec.structs.replace(run.read_attempt(1), plan=msgspec.to_builtins(plan))
    write_json(run.attempt(1), attempt)
    remote.write(run, make_remote(provider="foundry"))

    def answer_deployed(body: dict[str, Any]) -> Reply:
        if body["model"] not in models:
            return error(404, "The API deployment does not exist.", code="DeploymentNotFound")
        return answer(body | {"model": models[body["model"]]})

    server.reply = answer_deployed


def test_checkpoint_is_asked_by_the_deployment_that_its_command_makes(
    run: JobFolder, server: ChatEndpoint, environments: list[dict[str, str]],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    models: dict[str, str] = {"my-own": CHECKPOINT}
    move_to_foundry(run, server, models)
    with pytest.raises(FtwizardError, match="Checkpoint 10 of run one is not deployed") as raised:
        run_eval("one", "--checkpoint", "10")
    assert "Deploy it: ftwizard deploy one --checkpoint 10." in raised.value.hint
    own = ["--checkpoint", "10", "--served-model", "my-own"]
    assert run_eval("one", *own, "--json") == 0
    assert score_target(capsys) == 0.5
    record = remote.read(run)
    assert record and record.tuned_endpoint is None, "it is not the deployment of the result"
    with pytest.raises(FtwizardError, match="--checkpoints asks one for each checkpoint"):
        run_eval("one", "--checkpoints", "--served-model", "my-own")

    assert main(["deploy", "one", "--checkpoint", "10", "--json"]) == 0
    commands = json.loads(capsys.readouterr().out)["commands"]
    words = next(shlex.split(line) for line in commands if line.startswith("az "))
    options = dict(itertools.pairwise(words))
    assert options["--model-name"] == CHECKPOINT
    models[options["--deployment-name"]] = options["--model-name"]
    assert run_eval("one", "--checkpoint", "10", "--max-items", "4", "--json") == 0
    assert server.requests[-1]["model"] == options["--deployment-name"]
    capsys.readouterr()
    prompt = ["--prompt", "What is the code of ticket 7?"]
    assert main(["chat", "one", "--checkpoint", "10", *prompt]) == 0
    assert capsys.readouterr().out.strip() == "code 7"


def score_target(capsys: pytest.CaptureFixture[str]) -> Any:
    """Return the score of the tuned model in the report that was printed."""
    return json.loads(capsys.readouterr().out)["sets"]["target"]["arms"]["tuned"]["score"]


def test_deployment_is_named_once_and_then_recorded(
    run: JobFolder, server: ChatEndpoint, environments: list[dict[str, str]],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    move_to_foundry(run, server, {"my-tuned": TUNED, "my-base": BASE})
    with pytest.raises(FtwizardError, match="not deployed at Microsoft Foundry") as raised:
        run_eval("one")
    assert "ftwizard eval one --served-model NAME" in raised.value.hint
    assert run_eval("one", "--served-model", "my-tuned", "--base", "my-base", "--json") == 0
    record = remote.read(run)
    assert record and record.tuned_endpoint and record.base_endpoint
    names = (record.tuned_endpoint.served_name, record.base_endpoint.served_name)
    assert names == ("my-tuned", "my-base")
    assert evaluation_files.read_evaluation(run) is not None
    count = len(server.requests)
    assert run_eval("one", "--json") == 0, "the names are recorded"
    assert len(server.requests) == count
    assert environments[-1].keys() & {"AZURE_OPENAI_API_KEY", "OPENAI_API_KEY"} == {
        "AZURE_OPENAI_API_KEY"
    }


# ------------------------------------------------------------------------------- chat


def ask(models: Any, side: str = "tuned", **more: Any) -> Any:
    message = {"role": "user", "content": "What is the code of ticket 7?"}
    request = msgspec.convert(
        {"kind": "answer", "id": 1, "side": side, "messages": [message], **more}, AnswerRequest
    )
    return models.answer(request)


def test_prompt_is_answered_by_both_models(
    home: Path, server: ChatEndpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    make_ended(home / "runs" / "one")
    prompt = "What is the code of ticket 7?"
    assert main(["chat", "one", "--base", "--prompt", prompt, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["tuned"]["text"] == "code 7" and document["base"]["text"] == "I do not know."
    assert document["tuned"]["tokens"] == 7 and document["tuned"]["reason"] == "end"
    assert [request["model"] for request in server.requests] == [TUNED, BASE]


def test_checkpoint_answers_a_prompt(
    home: Path, server: ChatEndpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    make_ended(home / "runs" / "one")
    prompt = ["--prompt", "What is the code of ticket 7?"]
    assert main(["chat", "one", "--checkpoint", "10", *prompt]) == 0
    assert capsys.readouterr().out.strip() == "code 7"
    assert [request["model"] for request in server.requests] == [CHECKPOINT]
    assert main(["chat", "one", "--checkpoint", "15", *prompt]) == 1
    assert "It keeps: 10, 20." in capsys.readouterr().err


def test_chat_names_platform_and_step(home: Path, server: ChatEndpoint) -> None:
    folder = make_ended(home / "runs" / "one")
    models = hosted_chat.load(folder, base=True, say=lambda part: None)
    ready = models.ready
    assert (ready.device, ready.step, ready.has_base, ready.base_name) == ("OpenAI", 20, True, BASE)


def test_answer_streams_and_stops(home: Path, server: ChatEndpoint) -> None:
    folder = make_ended(home / "runs" / "one")
    models = hosted_chat.load(folder, base=False, say=lambda part: None)
    request = AnswerRequest(id=1, side="tuned", messages=[{"role": "user", "content": "ticket 7"}])
    stopped = models.answer(request, is_stopped=lambda: True)
    assert stopped.reason == "stopped" and not stopped.text
    with pytest.raises(FtwizardError, match="not asked"):
        ask(models, "base")


def test_options_that_a_model_does_not_take_are_replaced(home: Path, server: ChatEndpoint) -> None:
    def refuse(body: dict[str, Any]) -> Reply:
        for name in ("max_tokens", "temperature"):
            if name in body:
                return error(400, f"Unsupported: {name}", param=name)
        return answer(body)

    server.reply = refuse
    models = hosted_chat.load(make_ended(home / "runs" / "one"), base=False, say=lambda part: None)
    assert ask(models).text == "code 7"
    assert ask(models).text == "code 7" and len(server.requests) == 4, "it is asked right at once"


def test_error_of_the_platform_is_a_sentence_without_the_key(
    home: Path, server: ChatEndpoint
) -> None:
    server.reply = lambda body: error(401, f"Incorrect API key provided: {KEY}")
    models = hosted_chat.load(make_ended(home / "runs" / "one"), base=False, say=lambda part: None)
    with pytest.raises(FtwizardError, match="OpenAI did not answer as ft:") as raised:
        ask(models)
    assert KEY not in raised.value.text and "OPENAI_API_KEY" in raised.value.hint


def test_a_model_that_is_not_deployed_any_more_is_named(home: Path, server: ChatEndpoint) -> None:
    server.reply = lambda body: error(400, "Unable to access it", code="model_not_available")
    models = hosted_chat.load(make_ended(home / "runs" / "one"), base=False, say=lambda part: None)
    with pytest.raises(FtwizardError, match="did not answer") as raised:
        ask(models)
    assert "deployed" in raised.value.hint


def test_screens_pass_on_only_the_key_of_the_platform(home: Path, server: ChatEndpoint) -> None:
    folder = make_ended(home / "runs" / "one")
    for name in ("chat", "eval"):
        variables = subprocesses.environment(name, arguments=[str(folder.path)])
        assert "OPENAI_API_KEY" in variables and "TOGETHER_API_KEY" not in variables
    assert "OPENAI_API_KEY" not in subprocesses.environment("card", arguments=[str(folder.path)])
    folder.remote.unlink()
    assert "OPENAI_API_KEY" not in subprocesses.environment("chat", arguments=[str(folder.path)])
