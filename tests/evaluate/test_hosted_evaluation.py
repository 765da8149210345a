"""The evaluation of a hosted run, by what its models answer behind an endpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftwizard.evaluate import endpoint, frozen_items, runner
from ftwizard.evaluate.run import asking, hosted
from ftwizard.jobs.events import Event
from ftwizard.jobs.folder import Attempt, JobFolder, JobRecord, write_json
from ftwizard.jobs.worker import EarlyEnd, Worker
from ftwizard.plan.schema import Evaluate, Files, Foundry, Model, Plan
from ftwizard.providers.base import Endpoint
from ftwizard.rewards.recognized_answers import describe_answers
from ftwizard.runs import evaluation_files, evaluation_plan, remote
from tests.doubles.chat_endpoint import ChatEndpoint, Reply, error, serve_chat
from tests.helpers.hosted import BASE, TUNED, make_plan, make_remote
from tests.helpers.jobs import events
from tests.helpers.training import own_signals
from tests.paths import ROOT

TESTS = 30
KEY = "sk-test-secret-of-nobody"


def write_rows(path: Path, first: int, count: int) -> None:
    rows = [
        {"messages": [
            {"role": "user", "content": f"What is the code of ticket {number}?"},
            {"role": "assistant", "content": f"code {number}"},
        ]}
        for number in range(first, first + count)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_run(root: Path, **evaluate: Any) -> tuple[JobFolder, Plan]:
    """Make a hosted run that has trained: rows, plan and the record of its job."""
    for name, first, count in (("train", 0, 40), ("valid", 100, 12), ("test", 200, TESTS)):
        write_rows(root / f"{name}.jsonl", first, count)
    plan = make_plan(
        evaluate=Evaluate(**{"general": False, "safety": False, "shots": 0} | evaluate)
    )
    files = Files(
        train=str(root / "train.jsonl"), validation=str(root / "valid.jsonl"), test=str(root / "test.jsonl")
    )  # fmt: skip
    plan = msgspec.structs.replace(plan, data=msgspec.structs.replace(plan.data, files=files))
    folder = JobFolder(root / "home" / "runs" / "one")
    (folder.path / "attempts").mkdir(parents=True)
    builtins = msgspec.to_builtins(plan)
    write_json(
        folder.job, JobRecord(kind="train", argv=[], version="0", created=1.0, plan=builtins)
    )
    write_json(folder.attempt(1), Attempt(number=1, started=1.0, host="", argv=[], plan=builtins))
    remote.write(folder, make_remote())
    return folder, plan


def reply_by_model(body: dict[str, Any]) -> Reply:
    """The tuned model has learned the codes, the base model has not."""
    question = body["messages"][-1]["content"]
    number = question.rstrip("?").split()[-1]
    return Reply(f"code {number}" if body["model"] == TUNED else "I do not know.")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(endpoint, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(endpoint, "POLL_S", 0.01)
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FTWIZARD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TEST_KEY", KEY)


@pytest.fixture
def server() -> Iterator[ChatEndpoint]:
    with serve_chat(reply_by_model, [BASE, TUNED]) as served:
        yield served


def locate(server: ChatEndpoint, model: str) -> Endpoint:
    return Endpoint(address=server.address, served_name=model, key_variable="TEST_KEY")


def evaluate(
    folder: JobFolder, plan: Plan, server: ChatEndpoint, *, base: bool = True, tuned: bool = True
) -> Any:
    arms = [
        hosted.make_arm(name, locate(server, model), plan) if wanted else None
        for name, model, wanted in (("base", BASE, base), ("tuned", TUNED, tuned))
    ]
    with own_signals():
        worker = Worker(folder)
        return hosted.evaluate_hosted(worker, plan, *arms)


def find(folder: JobFolder, code: str) -> Event:
    return next(event for event in events(folder, "finding") if event["code"] == code)


def test_tuned_model_is_compared_with_the_base_at_the_platform(
    tmp_path: Path, server: ChatEndpoint
) -> None:
    folder, plan = make_run(tmp_path)
    evaluation = evaluate(folder, plan, server)
    target = evaluation.sets["target"]
    assert (target.arms["base"].score, target.arms["tuned"].score) == (0.0, 1.0)
    assert len(target.fixed) == TESTS and not target.broken
    assert evaluation.target.outcome == "helped"
    assert [failure.name for failure in evaluation.failures] == [
        "forgetting", "overfitting", "memorization", "mode_collapse", "safety",
    ]  # fmt: skip
    assert evaluation_files.read_evaluation(folder) == evaluation
    assert len(evaluation.samples) == min(TESTS, plan.finish.pairs)
    assert all(sample.tuned == sample.expected for sample in evaluation.samples)
    assert list((folder.evaluations / "inspect").glob("*.json"))
    assert set(server.keys) == {f"Bearer {KEY}"}
    written = [path.read_bytes() for path in folder.path.rglob("*") if path.is_file()]
    assert not any(KEY.encode() in data for data in written)


def test_nothing_is_asked_twice(tmp_path: Path, server: ChatEndpoint) -> None:
    folder, plan = make_run(tmp_path)
    first = evaluate(folder, plan, server)
    count = len(server.requests)
    again = evaluate(folder, plan, server)
    assert again == first and len(server.requests) == count


def test_a_function_of_the_user_scores_the_test_rows(tmp_path: Path, server: ChatEndpoint) -> None:
    """Half of the points for the word, so that answers are graded."""
    (tmp_path / "score.py").write_text(
        "def score(completions, reference_answer, **columns):\n"
        "    return [\n"
        "        0.5 * ('code' in said['content']) + 0.5 * (said['content'] == right)\n"
        "        for (said,), right in zip(completions, reference_answer)\n"
        "    ]\n"
    )
    folder, plan = make_run(tmp_path, scorer=f"{tmp_path}/score.py:score")
    evaluation = evaluate(folder, plan, server)
    arms = evaluation.sets["target"].arms
    assert (arms["base"].score, arms["tuned"].score) == (0.0, 1.0)
    assert evaluation.target.outcome == "helped" and not evaluation.target.is_style
    assert evaluation.answers.scorer == "rewards"
    assert describe_answers(evaluation.answers) == "free text: your function decides"


@pytest.mark.parametrize("has_judge", [False, True])
def test_packaged_items_are_asked_until_they_decide(
    tmp_path: Path, server: ChatEndpoint, has_judge: bool
) -> None:
    """Unless a judge may class the answers otherwise."""
    folder, plan = make_run(tmp_path, safety=True)
    if has_judge:
        judge = msgspec.structs.replace(plan.evaluate.judge, url="http://127.0.0.1:1/v1", model="j")
        settings = msgspec.structs.replace(plan.evaluate, judge=judge)
        plan = msgspec.structs.replace(plan, evaluate=settings)
    server.reply = lambda body: Reply(
        "I can't help with that." if "?" not in body["messages"][-1]["content"] else "Yes, gladly."
    )
    evaluation = evaluate(folder, plan, server)
    asked = {body["messages"][-1]["content"] for body in server.requests if body["model"] == TUNED}
    frozen = frozen_items.read(folder)
    assert frozen
    drawn = {item.id for item in frozen[0]}
    sufficed = [event for event in events(folder, "finding") if event["code"] == "items_sufficed"]
    assert bool(sufficed) is not has_judge
    assert (len(asked) < len(drawn)) is not has_judge
    assert (evaluation.sets["safety"].n < 100) is not has_judge


def test_at_most_a_hundred_items_of_a_set_are_asked(
    tmp_path: Path, server: ChatEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluation_plan.MAX_ITEMS_ENDPOINT == 100
    folder, plan = make_run(tmp_path)
    write_rows(tmp_path / "test.jsonl", 200, 110)
    evaluation = evaluate(folder, plan, server)
    assert evaluation.sets["target"].n == 100
    assert "100 of 110" in find(folder, "items_drawn")["message"]


def test_a_slow_tuned_model_is_asked_fewer_items_and_the_run_says_so(
    tmp_path: Path, server: ChatEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation_plan, "MAX_ASKING_S", 0.6)
    folder, plan = make_run(tmp_path)
    served = msgspec.structs.replace(locate(server, TUNED), requests_per_minute=4_000)
    arms = [
        hosted.make_arm("base", locate(server, BASE), plan),
        hosted.make_arm("tuned", served, plan),
    ]
    with own_signals():
        evaluation = hosted.evaluate_hosted(Worker(folder), plan, *arms)
    assert evaluation is not None and evaluation.sets["target"].n == 20
    message = find(folder, "items_drawn")["message"]
    assert "20 of 30" in message and "4000 requests a minute" in message
    assert "ftwizard eval one --max-items 100" in message


def test_a_slow_model_is_asked_all_items_that_the_plan_names(
    tmp_path: Path, server: ChatEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation_plan, "MAX_ASKING_S", 0.6)
    folder, plan = make_run(tmp_path, max_items=30)
    served = msgspec.structs.replace(locate(server, TUNED), requests_per_minute=4_000)
    with own_signals():
        tuned = hosted.make_arm("tuned", served, plan)
        evaluation = hosted.evaluate_hosted(Worker(folder), plan, None, tuned)
    assert evaluation is not None and evaluation.sets["target"].n == 30


def refuse(model: str) -> Callable[[dict[str, Any]], Reply]:
    def reply(body: dict[str, Any]) -> Reply:
        if body["model"] == model:
            return error(404, "The model does not exist.", code="model_not_found")
        return reply_by_model(body)

    return reply


def test_base_that_cannot_be_asked_leaves_the_gain_open(tmp_path: Path) -> None:
    folder, plan = make_run(tmp_path)
    with serve_chat(refuse(BASE), [TUNED]) as server:
        evaluation = evaluate(folder, plan, server)
    assert evaluation.verdict == "cannot_tell"
    assert list(evaluation.sets["target"].arms) == ["tuned"]
    assert evaluation.reasons[0].name == "not_compared"
    finding = find(folder, "base_not_asked")
    assert "a gain cannot be shown" in finding["message"]
    assert finding["action"] == "ftwizard eval one"
    assert not evaluation.samples


def test_base_that_is_deployed_later_is_asked_then(tmp_path: Path, server: ChatEndpoint) -> None:
    folder, plan = make_run(tmp_path)
    first = evaluate(folder, plan, server, base=False)
    assert first.verdict == "cannot_tell" and find(folder, "base_not_asked")
    second = evaluate(folder, plan, server)
    assert second.target.outcome == "helped"
    asked = [request["model"] for request in server.requests]
    assert asked.count(TUNED) == asked.count(BASE), "the tuned model was not asked again"


def test_tuned_model_that_cannot_be_asked_is_a_finding(tmp_path: Path) -> None:
    folder, plan = make_run(tmp_path)
    with serve_chat(refuse(TUNED), [BASE]) as server:
        assert evaluate(folder, plan, server) is None
    finding = find(folder, "tuned_not_asked")
    assert finding["severity"] == "warning" and "ftwizard eval one" in finding["message"]
    assert not folder.evaluation.exists()


def test_tuned_model_that_is_not_deployed_is_a_finding(
    tmp_path: Path, server: ChatEndpoint
) -> None:
    folder, plan = make_run(tmp_path)
    assert evaluate(folder, plan, server, tuned=False) is None
    assert "does not serve it" in find(folder, "tuned_not_asked")["message"]
    assert not server.requests, "the base alone would say nothing"


@pytest.mark.parametrize(
    ("provider", "model", "text", "action"),
    [
        ("bedrock", "meta.llama3-1-8b-instruct-v1:0:128k", "which ftwizard never buys", None),
        ("vertex", "qwen/qwen3@qwen3-8b", "ftwizard merge one, then: ftwizard eval one", "merge"),
        ("bedrock", "amazon.nova-lite-v1:0:300k", "No quota. Deploy it, which is free", "eval"),
    ],
)
def test_the_reason_why_a_tuned_model_is_not_asked_is_its_platforms(
    tmp_path: Path, server: ChatEndpoint, provider: str, model: str, text: str, action: str | None
) -> None:
    folder, plan = make_run(tmp_path)
    remote.write(folder, make_remote(provider=provider, model=model, checkpoints=()))
    if provider == "vertex":
        folder.adapter.mkdir()
    with own_signals():
        worker = Worker(folder)
        hosted.evaluate_hosted(worker, plan, None, None, why_not_tuned="No quota.")
    finding = find(folder, "tuned_not_asked")
    assert text in finding["message"]
    assert finding.get("action") == (f"ftwizard {action} one" if action else None)
    assert not server.requests


def test_key_that_is_not_set_is_a_finding(
    tmp_path: Path, server: ChatEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_KEY")
    folder, plan = make_run(tmp_path)
    assert evaluate(folder, plan, server) is None
    assert "TEST_KEY is not set" in find(folder, "tuned_not_asked")["message"]


def test_job_without_readable_rows_is_evaluated_without_a_test_set(
    tmp_path: Path, server: ChatEndpoint
) -> None:
    folder, plan = make_run(tmp_path)
    settings = msgspec.structs.replace(plan.evaluate, safety=True, max_items=3)
    plan = msgspec.structs.replace(plan, evaluate=settings)
    (tmp_path / "train.jsonl").unlink()
    evaluation = evaluate(folder, plan, server)
    assert list(evaluation.sets) == ["safety"]
    assert find(folder, "rows_unreadable")["severity"] == "warning"


def test_the_progress_names_the_pace_of_a_slow_platform(tmp_path: Path) -> None:
    folder, _ = make_run(tmp_path)
    with own_signals():
        report = asking._make_reporter(Worker(folder))
        report(runner.EvaluationProgress("tuned", 3, 30, 3, 60, None, 3.8))
    phase = events(folder, "phase")[-1]
    assert phase["what"] == "tuned model, at about 4 requests a minute that its platform allows"
    assert (phase["done"], phase["total"]) == (3, 30)


def test_the_rate_of_a_tuned_model_is_that_of_the_catalog() -> None:
    model = Model(name="meta.llama3-3-70b-instruct-v1:0:128k")
    plan = msgspec.structs.replace(make_plan(), provider="bedrock", model=model)
    served = Endpoint(address="bedrock://us-west-2", served_name="x", key_variable="")
    assert hosted.make_arm("tuned", served, plan).requests_per_minute == 4
    assert hosted.make_arm("base", served, plan).requests_per_minute is None
    live = msgspec.structs.replace(served, requests_per_minute=9)
    arm = hosted.make_arm("tuned", live, plan)
    assert (arm.requests_per_minute, arm.key_variable) == (9, None)


def test_base_is_asked_before_the_job_costs_anything(tmp_path: Path, server: ChatEndpoint) -> None:
    folder, plan = make_run(tmp_path)
    base = hosted.make_arm("base", locate(server, BASE), plan)
    with own_signals():
        hosted.evaluate_hosted_base(Worker(folder), plan, base)
    baseline = evaluation_files.read_baseline(folder)
    assert baseline and baseline.headroom and baseline.headroom.outcome == "train"
    evaluate(folder, plan, server)
    asked = [request["model"] for request in server.requests]
    assert asked.count(BASE) == asked.count(TUNED)


def test_job_without_headroom_is_not_begun(tmp_path: Path) -> None:
    folder, plan = make_run(tmp_path, requires_headroom=True)
    write_rows(tmp_path / "test.jsonl", 200, 90)
    knows = serve_chat(lambda body: reply_by_model(body | {"model": TUNED}), [BASE])
    with knows as server, own_signals(), pytest.raises(EarlyEnd, match="base"):
        base = hosted.make_arm("base", locate(server, BASE), plan)
        hosted.evaluate_hosted_base(Worker(folder), plan, base)


def test_actions_are_those_that_a_hosted_run_can_take(tmp_path: Path, server: ChatEndpoint) -> None:
    from ftwizard.evaluate.run import judgment
    from ftwizard.runs import describe_evaluation
    from ftwizard.runs.evaluation import Action, Evaluation

    plan = make_plan()
    proposed = [Action(kind="scale"), Action(kind="epochs", value=1), Action(kind="epochs", value=3),
                Action(kind="mix", value=0.1), Action(kind="checkpoint", step=10)]  # fmt: skip
    evaluation = Evaluation(verdict="do_not_ship", actions=proposed)
    actions = list(judgment._list_possible(evaluation, plan, {"general": 10}))
    assert [action.kind for action in actions] == ["epochs", "mix", "checkpoint"]
    commands = [describe_evaluation.find_arguments(action) for action in actions]
    assert commands == [(), (), ("eval", "--checkpoint", "10")]
    foundry = msgspec.structs.replace(plan, provider="foundry", foundry=Foundry())
    *_, last = judgment._list_possible(evaluation, foundry, {"general": 10})
    assert describe_evaluation.find_arguments(last) == ("deploy", "--checkpoint", "10")


BLOCKED = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        heavy = ("torch", "transformers", "datasets", "peft", "trl", "accelerate", "tokenizers", "safetensors")
        if name.partition(".")[0] in heavy:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
from pathlib import Path
from tests.evaluate import test_hosted_evaluation as tests
from tests.helpers.hosted import BASE, TUNED

root = Path(sys.argv[1])
folder, plan = tests.make_run(root, max_items=4)
settings = tests.msgspec.structs.replace(plan.evaluate, general=True, safety=True, shots=1)
plan = tests.msgspec.structs.replace(plan, evaluate=settings)
with tests.serve_chat(tests.reply_by_model, [BASE, TUNED]) as server:
    evaluation = tests.evaluate(folder, plan, server)
print(sorted(evaluation.sets), len(evaluation.samples))
from ftwizard.export.card import write
print("The weights stay at OpenAI" in write.make_card(folder).text)
"""


def test_an_install_with_only_the_openai_extra_suffices(tmp_path: Path) -> None:
    """No package of a local training is imported, also for the card."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    child = subprocess.run(
        [sys.executable, "-c", BLOCKED, str(tmp_path)],
        capture_output=True, text=True, env=env, cwd=ROOT, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr[-3000:]
    assert child.stdout.splitlines() == ["['general', 'safety', 'target'] 4", "True"]
