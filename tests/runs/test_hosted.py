"""Hosted runs in every view: their job, what it cost, what to do next, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftwizard.__main__ import main
from ftwizard.errors import FAILED, FtwizardError
from ftwizard.hosted_platforms import HostedProvider
from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.jobs.status import observe
from ftwizard.quantity import Figure
from ftwizard.runs import default_run, describe, hosted, next_steps, remote, result, store
from ftwizard.runs.evaluation import Evaluation
from ftwizard.runs.evaluation_job import Candidate
from ftwizard.runs.remote import BilledResource, RemoteCheckpoint, RemoteFile
from tests.helpers.hosted import BASE, TUNED, dollars, make_ended, make_remote
from tests.helpers.results import make_trained, write_judgment


@pytest.fixture
def run(home: Path) -> JobFolder:
    return make_ended(home / "runs" / "one")


def end(folder: JobFolder) -> str:
    return "\n".join(describe.describe_outcome(folder, observe(folder)))


def run_json(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert main([*argv, "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_result_has_the_job_and_no_local_training(run: JobFolder) -> None:
    read = result.read_result(run)
    assert read and read.remote and read.training is None
    assert (read.remote.model, read.remote.trained_tokens, read.remote.base) == (TUNED, 4500, BASE)
    assert read.actual.cost and read.actual.cost.value == 0.13
    assert read.actual.seconds and read.actual.seconds.value == 600
    assert read.error["cost"] == pytest.approx(0.12 / 0.13 - 1, abs=1e-3)
    assert result.has_results(run)


def test_status_names_the_job(run: JobFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_json(capsys, "status", "one")["remote"] == {
        "provider": "openai", "job_id": "ftjob-1", "status": "succeeded", "model": TUNED,
        "url": "https://platform.openai.com/finetune/ftjob-1",
    }  # fmt: skip
    assert main(["status", "one"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for part in ("OpenAI: succeeded, job ftjob-1", TUNED, "4,500 tokens", "$0.13 (predicted $0.10"):
        assert part in text


@pytest.mark.parametrize(
    ("predicted", "actual", "says"),
    [
        ((0.5, 0.5), (0.4, 0.4), "$0.40 (predicted $0.50, 25% too high)"),
        ((0.0, 5000.0), (0.0, 0.08), "$0.00 – $0.08 (predicted $0.00 – $5,000)"),
    ],
)
def test_a_cost_with_a_range_has_no_error(
    home: Path, predicted: tuple[float, float], actual: tuple[float, float], says: str
) -> None:
    costs = [
        Figure(value=high, low=low, high=high, unit="USD", source="listed", as_of="2026-11")
        for low, high in (predicted, actual)
    ]
    record = make_remote(predicted_cost=costs[0], actual_cost=costs[1])
    folder = make_ended(home / "runs" / "one", record)
    assert hosted.describe_cost(folder, record) == says


def test_local_run_has_no_remote(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_ended(home / "runs" / "one")
    folder.remote.unlink()
    assert "remote" not in run_json(capsys, "status", "one")


def test_list_of_runs_names_platform_and_cost(
    run: JobFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["runs"]) == 0
    out = capsys.readouterr().out
    assert "OpenAI: succeeded" in out and "$0.13" in out and TUNED in out
    (record,) = run_json(capsys, "runs")["runs"]
    assert record["remote"]["job_id"] == "ftjob-1" and record["actual"]["cost"]["value"] == 0.13


def test_cost_of_a_canceled_job_is_shown_without_a_result(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = make_remote(status="cancelled", state="cancelled", tuned_model=None, checkpoints=())
    make_ended(home / "runs" / "one", record, reason="cancelled")
    (listed,) = run_json(capsys, "runs")["runs"]
    assert listed["actual"]["cost"]["value"] == 0.13


@pytest.mark.parametrize(
    ("reason", "changes", "says"),
    [
        ("stopped", {"status": "running", "state": "running"}, "The job keeps running at OpenAI. Follow it again: ftwizard resume one"),
        ("crashed", {"status": "queued", "state": "pending"}, "The job keeps running at OpenAI."),
        ("killed", {"job_id": None, "state": None, "status": None}, "Whether OpenAI created the job is not known yet."),
        ("lost", {"job_id": None, "state": None, "status": None, "requested": None}, "No job was created at OpenAI yet."),
        ("stopped", {}, "The job at OpenAI has ended. To finish what follows it: ftwizard resume one"),
    ],
)  # fmt: skip
def test_end_says_whether_the_job_keeps_running(
    home: Path, reason: str, changes: dict[str, Any], says: str
) -> None:
    folder = make_ended(home / "runs" / "one", make_remote(**changes), reason=reason)
    assert says in end(folder)
    assert "checkpoint: ftwizard resume" not in end(folder)


def test_outcome_lists_what_is_still_billed(home: Path) -> None:
    billed = (BilledResource(id="dep-1", kind="deployment", price=dollars(1.7)),)
    folder = make_ended(home / "runs" / "one", make_remote(provider="foundry", billed=billed))
    assert "deployment dep-1, $1.70 per hour" in end(folder)
    assert "Microsoft Foundry: succeeded" in end(folder)


@pytest.mark.parametrize(
    ("prices", "words"),
    [((1.7, 0.0027), "by the hour"), ((0.0027, 0.0), "by the month"), ((0.0,), ""), ((), "")],
)
def test_the_state_of_a_job_says_how_what_it_left_is_billed(
    prices: tuple[float, ...], words: str
) -> None:
    billed = tuple(BilledResource(kind="model", price=dollars(price)) for price in prices)
    summary = remote.RemoteSummary(
        provider="bedrock", job_id="j", status="Completed", model="m", url=None, billed=billed
    )
    state = hosted.describe_state(summary)
    assert state == f"Amazon Bedrock: Completed{words and f' · billed {words}'}"


def test_names_from_the_platform_are_made_visible(home: Path) -> None:
    record = make_remote(tuned_model="ft:\x1b[31mred", status="done\x07", url="https://x\u202e/")
    text = end(make_ended(home / "runs" / "one", record))
    assert not any(char in text for char in "\x1b\x07\u202e")


@pytest.mark.parametrize("command", ["merge", "verify", "serve", "eject", "reproduce", "branch"])
def test_commands_that_need_weights_here_say_where_they_are(
    run: JobFolder, capsys: pytest.CaptureFixture[str], command: str, tmp_path: Path
) -> None:
    more = {"eject": ["--out", str(tmp_path / "out")]}.get(command, [])
    assert main([command, "one", *more]) == 1
    error = capsys.readouterr().err
    assert "OpenAI" in error and "ftwizard" in error.split("OpenAI", 1)[1]


@pytest.mark.parametrize(
    "argv", [["export", "one", "--to", "gguf"], ["push", "one", "--repo", "r", "--yes"]]
)
def test_export_and_push_say_what_works(
    run: JobFolder, capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    assert main(argv) == 1
    assert "ftwizard eval one, chat one, status one, card one" in capsys.readouterr().err


def test_weights_that_were_only_downloaded_are_named(run: JobFolder) -> None:
    model = run.path / hosted.DOWNLOADED
    model.mkdir()
    with pytest.raises(FtwizardError, match="were downloaded as one model") as raised:
        hosted.require_local(run, "exported")
    assert f"ftwizard export {model} --to gguf" in raised.value.hint
    run.adapter.mkdir()
    with pytest.raises(FtwizardError, match="without its base model") as raised:
        hosted.require_local(run, "exported")
    assert raised.value.hint.endswith("ftwizard merge one")


@pytest.mark.parametrize(
    ("provider", "model", "hint"),
    [("together", "Qwen/Qwen3-8B", "ftwizard download one"),
     ("foundry", "gpt-oss-20b", "ftwizard eval one")],
)  # fmt: skip
def test_only_weights_that_a_platform_offers_are_to_be_downloaded(
    home: Path, provider: HostedProvider, model: str, hint: str
) -> None:
    folder = make_ended(home / "runs" / "one", make_remote(provider=provider, model=model))
    with pytest.raises(FtwizardError) as raised:
        hosted.require_local(folder, "exported")
    assert hint in raised.value.hint


@pytest.mark.parametrize(
    ("tag", "count"), [("0123456789abcdef" * 2, 1), ("a", 0), ("f" * 32, 0)]
)  # fmt: skip
def test_only_objects_of_the_run_in_a_bucket_are_deleted_with_it(
    home: Path, tag: str, count: int
) -> None:
    address = f"s3://acme/rows/ftwizard-{'0123456789abcdef' * 2}-train.jsonl"
    file = RemoteFile(path="upload/train.jsonl", name=address, rows=1, size_bytes=1, id=address)
    record = make_remote(provider="bedrock", tag=tag, files={"train": file})
    folder = make_ended(home / "runs" / "one", record)
    assert hosted.list_uploaded(folder) == [("bedrock", address)] * count


def test_downloaded_adapter_is_used_as_a_local_one(run: JobFolder) -> None:
    with pytest.raises(FtwizardError, match="at OpenAI, so they cannot be merged here"):
        hosted.require_local(run, "merged")
    write_json(run.trained, make_trained())
    hosted.require_local(run, "merged")
    assert default_run.choose_local().folder.id == "one"


def test_model_at_a_platform_can_be_talked_to(run: JobFolder) -> None:
    assert default_run.choose_chatted().folder.id == "one"
    with pytest.raises(FtwizardError, match="No run has a model on this machine"):
        default_run.choose_local()


def test_job_that_ended_is_not_resumed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = make_remote(status="failed", state="failed", tuned_model=None)
    make_ended(home / "runs" / "one", record, reason="failed")
    assert main(["resume", "one"]) == 1
    assert "has ended at OpenAI (failed)" in capsys.readouterr().err
    with pytest.raises(FtwizardError, match="Nothing to resume"):
        default_run.choose_resumed()


def test_next_step_is_the_evaluation(run: JobFolder) -> None:
    assert next_steps.find_next(run).command == "eval"
    lines = dict(next_steps.list_lines(run))
    assert lines["exists"] == "model at OpenAI" and lines["missing"] == "model card"


def test_next_step_with_weights_that_were_downloaded_whole(run: JobFolder) -> None:
    model = "qwen/qwen3@qwen3-4b"
    remote.write(run, make_remote(provider="vertex", model=model))
    assert next_steps.find_next(run).command == "download"
    (run.path / hosted.DOWNLOADED).mkdir()
    step = next_steps.find_next(run)
    command = f"ftwizard export {run.path / hosted.DOWNLOADED} --to gguf"
    assert step.format_command(run.id) == command
    assert dict(next_steps.list_lines(run))["exists"] == "model at Vertex AI, downloaded weights"


def judge(folder: JobFolder, verdict: str, step: int | None = None) -> None:
    """Write an evaluation of the run's model, or of a checkpoint."""
    evaluation = Evaluation(verdict=verdict)  # type: ignore[arg-type]
    if step is None:
        folder.evaluations.mkdir(exist_ok=True)
        write_json(folder.evaluation, evaluation)
    else:
        candidate = Candidate(name="tuned", verdict=evaluation.verdict, scores={}, step=step)
        write_judgment(folder, 1, evaluation, [candidate])


def test_next_steps_after_the_evaluation(run: JobFolder) -> None:
    judge(run, "ship")
    assert next_steps.find_next(run).command == "card"
    run.card.write_text("a card")
    step = next_steps.find_next(run)
    assert step.command == "chat" and step.is_closing
    judge(run, "do_not_ship")
    step = next_steps.find_next(run)
    assert (step.command, step.options) == ("eval", ("--checkpoint", "10"))
    assert "stop at the best epoch" in step.text
    remote.write(run, make_remote(provider="foundry"))
    step = next_steps.find_next(run)
    assert step.command == "deploy", "it answers only once it is deployed"
    remote.write(run, make_remote())
    judge(run, "do_not_ship", step=10)
    assert next_steps.find_next(run).command == "chat", "it was judged"
    judge(run, "ship", step=10)
    assert f"{TUNED}:ckpt-step-10" in next_steps.find_next(run).text


def test_outcome_names_the_model_of_the_best_epoch(run: JobFolder) -> None:
    assert f"stop at the best epoch: use model {TUNED}:ckpt-step-10 (step 10" in end(run)


def test_better_checkpoint_is_the_one_with_the_lowest_validation_loss() -> None:
    kept = make_remote().checkpoints
    better = hosted.find_better_checkpoint(kept)
    assert better and better.step == 10
    assert hosted.find_better_checkpoint(kept[::-1]) == better
    assert hosted.find_better_checkpoint(kept[1:]) is None
    assert hosted.find_better_checkpoint(()) is None
    silent = (RemoteCheckpoint(id="a", step=10, eval_loss=0.1), kept[1])
    assert hosted.find_better_checkpoint(silent) is None, "it cannot be asked"


def test_status_document_is_read_as_written(run: JobFolder) -> None:
    status = store.read_status(run)
    assert status.remote and status.remote.model == TUNED


@pytest.mark.parametrize("state", ["running", None])
def test_run_whose_job_may_still_be_billed_is_not_deleted(
    home: Path, capsys: pytest.CaptureFixture[str], state: Any
) -> None:
    record = make_remote(state=state, status=state, job_id="ftjob-1" if state else None)
    folder = make_ended(home / "runs" / "one", record, reason="stopped")
    assert main(["remove", "one", "--yes"]) == FAILED
    shown = capsys.readouterr().err
    assert "may still run at OpenAI" in shown and "ftwizard stop one --cancel" in shown
    assert ("ftjob-1" in shown) is (state is not None)
    assert folder.job.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "cancelled"},
        {"state": "running", "adopted": True},
        {"state": None, "requested": None},
    ],
)
def test_run_without_a_job_of_its_own_is_deleted(home: Path, changes: dict[str, Any]) -> None:
    folder = make_ended(home / "runs" / "one", make_remote(**changes), reason="stopped")
    assert main(["remove", "one", "--yes"]) == 0
    assert not folder.path.exists()


@pytest.mark.parametrize("content", [b"", b'{"provider": "ope', None])
def test_damaged_record_does_not_make_a_run_local(
    home: Path, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    folder = make_ended(home / "runs" / "one", reason="stopped")
    if content is None:
        folder.remote.unlink()
    else:
        folder.remote.write_bytes(content)
    for words in (["resume", "one"], ["stop", "one", "--cancel"]):
        assert main(words) == FAILED
        shown = " ".join(capsys.readouterr().err.split())
        assert "remote.json could not be read" in shown
        assert "ftwizard watch JOB_ID --provider openai" in shown
    if content is not None:
        assert main(["remove", "one", "--yes"]) == FAILED
        assert folder.job.exists()
