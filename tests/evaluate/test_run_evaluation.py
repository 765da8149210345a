"""The evaluation of a run, from the frozen items to the verdict, with a tiny model."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from ftwizard.cli import evaluate, parser, run_job
from ftwizard.errors import FtwizardError
from ftwizard.evaluate import job as evaluation_job
from ftwizard.evaluate import local_model
from ftwizard.evaluate.answer_cache import AnswerCache
from ftwizard.evaluate.run import asking, item_selection
from ftwizard.evaluate.run.tuned import make_tuned_arm
from ftwizard.export.card import write
from ftwizard.jobs.folder import Attempt, JobFolder, State, write_json
from ftwizard.jobs.worker import EarlyEnd, Stopped, Worker, WorkResult
from ftwizard.plan import changes
from ftwizard.plan.schema import Data, Files, Model, Plan
from ftwizard.runs import describe_evaluation, evaluation_files
from ftwizard.runs.evaluation import Action, Evaluation
from tests.doubles.chat_endpoint import Reply, serve_chat
from tests.evaluate.test_thinking import OPEN, SWITCHED, make_model
from tests.helpers import cards, disks, training
from tests.helpers.jobs import events
from tests.helpers.results import make_trained
from tests.helpers.shared import make_once

EVALUATE = {"general": True, "safety": True, "max_items": 3, "shots": 2}


def train(root: Path, name: str = "one", **more: Any) -> JobFolder:
    """Train with a test set of six rows and all sets, of three items each."""
    rows = "".join(json.dumps(row) + "\n" for row in training.rows(6, 900))
    (root / "test.jsonl").write_text(rows)
    settings = {
        "data": {"files": {"train": "train.jsonl", "validation": "validation.jsonl",
                           "test": "test.jsonl"}},
        "finish": {"merge": False, "compare": True, "max_new_tokens": 4},
        "evaluate": EVALUATE | more.pop("evaluate", {}), **more,
    }  # fmt: skip
    return training.prepare(root, name, samples={"count": 0}, more=settings)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FTWIZARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FTWIZARD_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(item_selection, "MAX_REFUSAL_TOKENS", 4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> JobFolder:
    shared = make_once(tmp_path_factory, "evaluated", train_and_evaluate)
    root = tmp_path_factory.mktemp("trained")
    shutil.copytree(shared, root, dirs_exist_ok=True)
    return JobFolder(root / "one")


def train_and_evaluate(root: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTWIZARD_CACHE", str(root / "cache"))
        patch.setattr(item_selection, "MAX_REFUSAL_TOKENS", 4)
        assert evaluation_files.read_evaluation(training.again(train(root)))


def test_base_answers_before_the_first_step_and_the_tuned_model_at_the_end(
    trained: JobFolder,
) -> None:
    lines = [json.loads(line) for line in trained.events.read_text().splitlines()]
    first_step = next(n for n, event in enumerate(lines) if event["kind"] == "log")
    asked = [
        (n < first_step, event["what"])
        for n, event in enumerate(lines)
        if event.get("phase") == "comparing" and event.get("unit") == "answers"
    ]
    assert list(dict.fromkeys(asked)) == [
        (True, "base model"), (True, "prompted model"), (False, "tuned model"),
    ]  # fmt: skip
    codes = [event["code"] for event in events(trained, "finding")]
    assert {"headroom", "power", "items_drawn"} <= set(codes)
    frozen = json.loads((trained.evaluations / "frozen.json").read_text())
    items = (trained.evaluations / "items.jsonl").read_bytes()
    assert frozen["sha256"] == hashlib.sha256(items).hexdigest()
    assert frozen["gate"]["gain"] == 0.05


def test_the_documents_of_an_evaluation(trained: JobFolder) -> None:
    evaluation = evaluation_files.read_evaluation(trained)
    baseline = evaluation_files.read_baseline(trained)
    assert evaluation and baseline and baseline.headroom
    assert list(evaluation.sets) == list(baseline.sets) == ["target", "general", "safety"]
    assert {result.n for result in evaluation.sets.values()} == {3}
    assert list(evaluation.sets["target"].arms) == ["base", "prompted", "tuned"]
    assert evaluation.sets["general"].arms["base"] == baseline.sets["general"].arms["base"]
    assert len(evaluation.failures) == 5
    assert evaluation.verdict != "ship", "three items of random words prove nothing"
    target = evaluation.sets["target"]
    assert target.loss_difference and target.loss_difference.value < 0
    lines = [sample.line or 0 for sample in evaluation.samples]
    assert len(lines) == 3 and lines == sorted(lines)
    answers = {answer.text for answer in asking.read_answers(trained, "tuned") or []}
    assert {sample.tuned for sample in evaluation.samples} <= answers


def stop_after(monkeypatch: pytest.MonkeyPatch, arm: str, answers: int) -> None:
    """Request a stop once an arm has given so many answers."""
    make_reporter = asking._make_reporter

    def make(worker: Worker, unit: str = "answers") -> Any:
        report = make_reporter(worker, unit)

        def stop(progress: Any) -> None:
            if (unit, progress.arm, progress.arm_done) == ("answers", arm, answers):
                raise Stopped
            report(progress)

        return stop

    monkeypatch.setattr(asking, "_make_reporter", make)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the keys of the answers that are computed."""
    keys: list[str] = []
    put = AnswerCache.put

    def record(cache: AnswerCache, key: str, answer: Any) -> None:
        keys.append(key)
        put(cache, key, answer)

    monkeypatch.setattr(AnswerCache, "put", record)
    return keys


def test_stops_lose_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    folder = train(tmp_path)
    for attempt, arm in ((2, "base"), (3, "tuned")):
        with monkeypatch.context() as patch:
            stop_after(patch, arm, 4)
            with pytest.raises(Stopped):
                training.again(folder)
        assert not folder.evaluation.exists()
        write_json(folder.attempt(attempt), Attempt(
            number=attempt, started=0, host="", argv=[],
        ))  # fmt: skip
    training.again(folder)
    assert evaluation_files.read_evaluation(folder)
    assert len(asked) == len(set(asked)), "no item is answered twice"
    codes = [event["code"] for event in events(folder, "finding")]
    assert codes.count("headroom") == codes.count("power") == codes.count("items_drawn") == 1


def test_items_changed_during_the_run_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = train(tmp_path, evaluate={"general": False, "safety": False})
    with monkeypatch.context() as patch:
        stop_after(patch, "tuned", 1)
        with pytest.raises(Stopped):
            training.again(folder)
    path = folder.evaluations / "items.jsonl"
    path.write_text(path.read_text().replace("target", "easy"))
    with pytest.raises(FtwizardError, match="changed since the run froze it"):
        training.again(folder)


def test_base_that_needs_no_training_ends_the_run_where_the_plan_says_so(
    tmp_path: Path, trained: JobFolder
) -> None:
    """The expected answers are those that the base model gave, so nothing is left to gain."""
    given = {line["item"]: line["text"] for line in read_lines(trained, "base")}
    rows = [
        {"messages": [*item["messages"], {"role": "assistant", "content": given[item["id"]]}]}
        for item in read_lines(trained, "items")
        if item["set"] == "target" and given[item["id"]].strip()
    ]
    assert rows, "the base model answers something"
    asked = {"general": False, "safety": False, "shots": 0, "requires_headroom": True}
    # A few right answers leave room for 5 points, but not for 90.
    open_run = train(tmp_path, "open", evaluate=asked)
    folder = train(tmp_path, evaluate=asked, gate={"gain": 0.9})
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    training.again(open_run)
    assert events(open_run, "log"), "nothing is shown by so few rows: it trains"
    (finding,) = [e for e in events(open_run, "finding") if e["code"] == "headroom"]
    assert "Cannot tell whether the base model already does it" in finding["message"]
    assert finding["severity"] == "info"
    for _ in range(2):
        with pytest.raises(EarlyEnd) as caught:
            training.again(folder)
        assert caught.value.end_reason == "refused"
        assert "the base model already does this" in caught.value.message
    assert not events(folder, "log")
    (finding,) = [e for e in events(folder, "finding") if e["code"] == "headroom"]
    assert finding["severity"] == "warning"


def test_thinking_is_turned_off_and_said(tmp_path: Path) -> None:
    make_model(tmp_path, SWITCHED)
    folder = training.again(train(tmp_path, evaluate={"general": False, "safety": False}))
    messages = {event["code"]: event["message"] for event in events(folder, "finding")}
    assert "turned off for all models" in messages["thinking"]
    assert "thinking_unfinished" not in messages
    assert "turned off for all models" in read_log(folder)["eval"]["metadata"]["thinking"]


def read_log(folder: JobFolder) -> dict[str, Any]:
    path = min((folder.evaluations / "inspect").glob("*.json"))
    log: dict[str, Any] = json.loads(path.read_text())
    return log


def read_lines(folder: JobFolder, name: str) -> list[dict[str, Any]]:
    path = folder.evaluations / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_changed_training_rows_leave_memorization_open(tmp_path: Path) -> None:
    folder = train(tmp_path, evaluate={"general": False, "safety": False})
    record = folder.read_job()
    hashes = {"train": "of other rows"}
    write_json(folder.job, msgspec.structs.replace(record, hashes=hashes))
    with pytest.raises(FtwizardError):
        training.again(folder)
    write_json(folder.job, record)
    training.again(folder)
    write_json(folder.job, msgspec.structs.replace(record, hashes=hashes))
    write_json(folder.attempt(2), Attempt(number=2, started=0, host="", argv=[]))
    training.again(folder)
    codes = [event["code"] for event in events(folder, "finding")]
    assert codes.count("rows_changed") == 1
    evaluation = evaluation_files.read_evaluation(folder)
    assert evaluation
    (memorization,) = [one for one in evaluation.failures if one.name == "memorization"]
    assert memorization.found is not False


# ------------------------------------------------------------------------ ftwizard eval


def run_eval(monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    """Run ``ftwizard eval``, whose job runs in this process."""

    def run(job: JobFolder, environment: Any, again: str) -> None:
        number = job.newest_attempt() + 1
        write_json(job.attempt(number), Attempt(number=number, started=0, host="", argv=[]))
        with training.own_signals():
            worker = Worker(job)
            try:
                outcome: WorkResult = evaluation_job.run(worker)
            finally:
                worker.events.close()
        write_json(job.result, outcome.result)

    monkeypatch.setattr(run_job, "run", run)
    return evaluate.evaluate(parser.parser().parse_args(["eval", *words]))


@pytest.fixture
def ended(trained: JobFolder) -> JobFolder:
    write_json(trained.state, State(state="ended", attempt=1, end_reason="finished", started=0))
    return trained


def test_a_run_is_evaluated_again_without_asking_again(
    ended: JobFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    asked: list[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("FTWIZARD_CACHE", str(ended.path.parent / "cache"))
    before = ended.evaluation.read_bytes()
    assert run_eval(monkeypatch, str(ended.path), "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] in ("do_not_ship", "cannot_tell") and document["why"]
    assert document["sets"]["target"]["flips"].keys() == {"fixed", "broken"}
    assert ended.evaluation.read_bytes() == before and not asked
    code = run_eval(monkeypatch, str(ended.path), "--gate")
    assert code == {"do_not_ship": 1, "cannot_tell": 4}[document["verdict"]]
    assert "target" in capsys.readouterr().out


def test_another_scorer_scores_the_kept_answers_and_says_that_it_came_after_training(
    ended: JobFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    asked: list[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("FTWIZARD_CACHE", str(ended.path.parent / "cache"))
    first = evaluation_files.read_evaluation(ended)
    assert first and first.answers and first.answers.scorer == "normalized"
    assert not first.scorer_changed
    frozen = {
        name: (ended.evaluations / name).read_bytes()
        for name in ("items.jsonl", "frozen.json", "base.jsonl")
    }
    run_eval(monkeypatch, str(ended.path), "--answer-pattern", r"(\w*)", "--json")
    document = json.loads(capsys.readouterr().out)
    assert document["scorer_changed"] and document["answers"]["scorer"] == "extracted"
    assert document["answers"]["pattern"] == r"(\w*)"
    assert document["sets"]["target"]["n"] == 3 and not asked
    assert {name: (ended.evaluations / name).read_bytes() for name in frozen} == frozen
    second = evaluation_files.read_evaluation(ended)
    assert second and second.scorer_changed
    run_eval(monkeypatch, str(ended.path), "--json")
    assert evaluation_files.read_evaluation(ended) == first, "the frozen items count again"
    with pytest.raises(FtwizardError, match="matches no answer in the test rows"):
        run_eval(monkeypatch, str(ended.path), "--answer-pattern", "#### (.+)")
    with pytest.raises(FtwizardError, match="cannot be used"):
        run_eval(monkeypatch, str(ended.path), "--answer-pattern", "(")
    with pytest.raises(FtwizardError, match="are for the test rows of a run"):
        run_eval(monkeypatch, str(ended.path / "adapter"), "--scorer", "numeric")


def test_a_disk_too_full_for_reports_leaves_the_verdict(
    ended: JobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("FTWIZARD_CACHE", str(ended.path.parent / "cache"))
    before, reports = ended.evaluation.read_bytes(), ended.evaluations / "inspect"
    with disks.mount(tmp_path, "4k") as disk:
        (disk / "filler").write_bytes(b"0" * 4096)
        shutil.rmtree(reports)
        reports.symlink_to(disk)
        assert run_eval(monkeypatch, str(ended.path), "--json") == 0
        reports.unlink()
    assert ended.evaluation.read_bytes() == before
    job = JobFolder(Path(json.loads(capsys.readouterr().out)["folder"]))
    (finding,) = [one for one in events(job, "finding") if one["code"] == "reports_failed"]
    assert "No space left on device" in finding["message"]
    assert finding["action"] == f"ftwizard eval {ended.id}"
    run_eval(monkeypatch, str(ended.path), "--json")
    assert list(reports.glob("*.json"))


def test_weaker_adapters_and_checkpoints_are_judged_apart_from_the_run(
    ended: JobFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FTWIZARD_CACHE", str(ended.path.parent / "cache"))
    before = ended.evaluation.read_bytes()
    run_eval(monkeypatch, str(ended.path), "--sweep", "--json")
    document = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in document["candidates"]] == [
        "scale-0.25", "scale-0.5", "scale-0.75", "scale-1",
    ]  # fmt: skip
    assert document["best"] in [one["name"] for one in document["candidates"]]
    assert ended.evaluation.read_bytes() == before
    job = JobFolder(Path(document["folder"]))
    assert job.path.parent == ended.path / "jobs"
    answers = {name: read_lines(job, name) for name in ("scale-0.25", "scale-1")}
    losses = [[line.get("loss") for line in lines] for lines in answers.values()]
    assert losses[0] != losses[1]
    for words in (["--checkpoints"], ["--checkpoint", "8"]):
        run_eval(monkeypatch, str(ended.path), *words, "--json")
        (candidate,) = json.loads(capsys.readouterr().out)["candidates"]
        assert (candidate["step"], candidate["scale"]) == (8, 1.0)


def test_the_result_is_the_merged_model_only_at_full_strength(home: Path) -> None:
    run = cards.make_run(home)
    arms = []
    for scale in (1.0, 0.5):
        cards.write_merged(run, scale=scale)
        arms.append(make_tuned_arm(run, make_trained()))
    assert [(Path(arm.model).name, bool(arm.adapter)) for arm in arms] == [
        ("merged", False), ("base", True),
    ]  # fmt: skip


def test_a_set_of_ones_own_is_one_more_set(
    ended: JobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    file = tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "one", "expected": "two", "max_tokens": 4}\n')
    write.write_card(write.make_card(ended), ended.card)
    run_eval(monkeypatch, str(ended.path), "--set", str(file), "--json")
    assert "mine" in ended.card.read_text(), "it is written again"
    assert json.loads(capsys.readouterr().out)["sets"]["mine"]["n"] == 1


def test_a_folder_is_evaluated_without_a_run(
    ended: JobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    file = tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "one", "expected": "two", "max_tokens": 4}\n')
    words = [str(ended.adapter), "--set", str(file), "--max-items", "1", "--json"]
    run_eval(monkeypatch, *words)
    output = capsys.readouterr()
    document = json.loads(output.out)
    assert document["sets"]["target"]["arms"].keys() == {"base", "tuned"}
    assert output.err == ""
    run_eval(monkeypatch, str(ended.path.parent / "tiny"), "--max-items", "1")
    output = capsys.readouterr()
    assert "Cannot tell" in output.out and "no test set" in output.err
    assert "Name it: --base" in output.err and "none.jsonl" not in output.err


def test_thinking_up_to_the_limit_is_said_and_decides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(local_model, "MAX_THINKING_TOKENS", 2)
    model = str(make_model(tmp_path, OPEN))
    run_eval(monkeypatch, model, "--base", model, "--max-items", "2", "--json")
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] == "cannot_tell"
    assert document["sets"]["safety"]["arms"]["tuned"]["unscored"] == 2
    job = JobFolder(Path(document["folder"]))
    messages = {event["code"]: event["message"] for event in events(job, "finding")}
    assert "up to 1,024 tokens before each answer" in messages["thinking"]
    assert "tuned model only thought" in messages["thinking_unfinished"]
    assert "up to 1,024 tokens before" in read_log(job)["eval"]["metadata"]["thinking"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--checkpoint", "99"], "has no checkpoint 99 on disk"),
        (["--set", "missing.jsonl"], "missing.jsonl"),
        (["--key-variable", "NO_SUCH_VARIABLE"], None),
    ],
)
def test_bad_input_is_refused_before_anything_is_loaded(
    ended: JobFolder, monkeypatch: pytest.MonkeyPatch, words: list[str], problem: str | None
) -> None:
    if problem is None:
        words, problem = ["http://localhost:1/v1", *words], "NO_SUCH_VARIABLE is not set"
    else:
        words = [str(ended.path), *words]
    monkeypatch.setattr(run_job, "run", None)
    with pytest.raises(FtwizardError) as caught:
        evaluate.evaluate(parser.parser().parse_args(["eval", *words]))
    assert problem in caught.value.message


def test_a_file_without_answers_is_refused_with_its_lines(
    ended: JobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "one"}\n{"prompt": "two"}\n')
    with pytest.raises(FtwizardError) as caught:
        run_eval(monkeypatch, str(ended.path), "--set", str(file))
    assert "mine.jsonl" in caught.value.message


def test_a_run_in_training_or_without_weights_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = train(tmp_path)
    write_json(folder.state, State(state="ended", attempt=1, end_reason="killed", started=0))
    with pytest.raises(FtwizardError, match="has no trained weights yet"):
        run_eval(monkeypatch, str(folder.path))
    monkeypatch.setattr(
        evaluate, "observe", lambda folder: SimpleNamespace(state="running", end_reason=None)
    )
    with pytest.raises(FtwizardError, match="is still running"):
        run_eval(monkeypatch, str(folder.path))


ACTIONS = [
    Action(kind="scale"),
    Action(kind="checkpoint", step=40),
    Action(kind="mix", value=0.1),
    Action(kind="drop_rows", lines=[3, 17]),
    Action(kind="epochs", value=1),
    Action(kind="more_items", value=390, set="general"),
]


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.kind)
def test_the_command_of_an_action_can_be_parsed(action: Action) -> None:
    command = describe_evaluation.find_command(action, "tickets-1")
    arguments = parser.parser().parse_args(shlex.split(command)[1:])
    if action.kind in ("mix", "epochs"):
        plan = Plan(data=Data(files=Files(train="/rows.jsonl")), model=Model(name="/model"))
        changed = changes.find_changes(plan, changes.set_values(plan, arguments.set))
        assert [new for _, new in changed.values()] == [action.value]
    evaluation = Evaluation(verdict="do_not_ship", actions=[action])
    assert describe_evaluation.list_details(evaluation, "tickets-1")[-1].endswith(f": {command}")


def test_actions_without_a_command_name_none() -> None:
    evaluation = Evaluation(verdict="do_not_ship", actions=[Action(kind="prompt")])
    (line,) = [line for line in describe_evaluation.list_details(evaluation, "x") if line]
    assert line == "→ Use the base model with your prompt, without fine-tuning"


def test_a_judge_that_fails_does_not_end_the_run(tmp_path: Path) -> None:
    """It replies with nonsense to the first run, and is gone for the second one."""
    file = tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "one", "instructions": "It is polite.", "max_tokens": 4}\n')
    with serve_chat(lambda body: Reply("Bananas."), ["m"]) as server:
        settings = {
            "sets": ["mine.jsonl"], "general": False, "safety": False,
            "judge": {"url": server.address, "model": "m"},
        }  # fmt: skip
        first = training.again(train(tmp_path, "one", evaluate=settings))
    second = training.again(train(tmp_path, "two", evaluate=settings))
    messages = {
        event["code"]: event["message"]
        for folder in (first, second)
        for event in events(folder, "finding")
    }
    assert messages["judge_unclear"] == "The judge gave no clear verdict on 3 of 3 answers."
    assert "does not answer, after 0 answers" in messages["judge_failed"]
    for folder in (first, second):
        assert json.loads(folder.result.read_text())["end_reason"] == "finished"
        evaluation = evaluation_files.read_evaluation(folder)
        assert evaluation and evaluation.sets["mine"].arms["tuned"].unscored == 1
