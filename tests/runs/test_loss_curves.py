"""Loss curves from runs and log files, and the command that diagnoses them."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import pytest

from ftwizard.diagnosis import Curve, diagnose, to_findings
from ftwizard.errors import FtwizardError
from ftwizard.jobs.events import EventWriter
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import loss_curves
from ftwizard.runs.summary import read_progress
from tests.e2e.cli import as_json, ok, run
from tests.helpers.curves import overfitting, running_away
from tests.paths import FIXTURES
from tests.screens.runs_helpers import make_run

GALLERY = FIXTURES / "curves"


@pytest.fixture
def curve() -> Curve:
    return overfitting(1)


def log_history(curve: Curve) -> list[dict[str, Any]]:
    """Return a curve as transformers' trainer logs it."""
    rows: list[dict[str, Any]] = [
        {"step": step, "epoch": step / 200, "loss": loss, "learning_rate": 1e-4, "grad_norm": 0.5}
        for step, loss in curve.train
    ]
    rows += [{"step": step, "epoch": step / 200, "eval_loss": loss} for step, loss in curve.evals]
    rows.sort(key=lambda row: row["step"])
    return [*rows, {"step": 600, "epoch": 3.0, "train_loss": 1.0, "total_flos": 1e9}]


def same(result: Curve, curve: Curve) -> bool:
    return list(result.train) == list(curve.train) and list(result.evals) == list(curve.evals)


def test_from_file_reads_a_trainer_state(tmp_path: Path, curve: Curve) -> None:
    file = tmp_path / "trainer_state.json"
    file.write_text(json.dumps({"log_history": log_history(curve), "max_steps": 600}))
    result = loss_curves.from_file(file)
    assert same(result, curve) and result.total_steps == 600
    assert result.steps_per_epoch == pytest.approx(200)
    assert len(result.learning_rate) == len(result.grad_norm) == len(curve.train)


def test_trainer_state_with_nan_loss_is_diagnosed_as_nan(tmp_path: Path) -> None:
    rows = [{"step": k, "loss": math.nan if k > 5 else 1.0} for k in range(1, 9)]
    file = tmp_path / "trainer_state.json"
    file.write_text(json.dumps({"log_history": rows}))
    assert diagnose(loss_curves.from_file(file)).pattern == "nan"


@pytest.mark.parametrize("encoded", [False, True])
def test_from_file_reads_an_openai_result_file(tmp_path: Path, curve: Curve, encoded: bool) -> None:
    evals = dict(curve.evals)
    lines = ["step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"]
    lines += [
        f"{step},{loss},0.5,{evals.get(step, '')},{0.6 if step in evals else ''}"
        for step, loss in curve.train
    ]
    data = "\n".join(lines).encode()
    file = tmp_path / "result.csv"
    file.write_bytes(base64.b64encode(data) if encoded else data)
    result = loss_curves.from_file(file)
    assert same(result, curve)
    assert len(result.scores["valid_mean_token_accuracy"]) == len(curve.evals)


def test_minus_one_in_a_result_file_means_missing(tmp_path: Path, curve: Curve) -> None:
    evals = dict(curve.evals)
    lines = ["step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"]
    lines += [
        f"{step},{loss},0.5,{evals.get(step, -1.0)},{0.6 if step in evals else -1.0}"
        for step, loss in curve.train
    ]
    file = tmp_path / "result.csv"
    file.write_text("\n".join(lines))
    result = loss_curves.from_file(file)
    assert same(result, curve)
    assert len(result.scores["valid_mean_token_accuracy"]) == len(curve.evals)
    file.write_text("step,loss,eval_loss\n1,0.5,-1.0\n2,-1.0,-1.2\n")
    result = loss_curves.from_file(file)
    assert (len(result.train), len(result.evals)) == (2, 2), "other losses may be -1"


@pytest.mark.parametrize(("every", "uses_full_loss"), [(100, True), (600, False)])
def test_full_validation_loss_replaces_the_batch_loss(
    tmp_path: Path, curve: Curve, every: int, uses_full_loss: bool
) -> None:
    lines = ["step,train_loss,valid_loss,valid_accuracy,full_valid_loss"]
    lines += [
        f"{step},{loss},{loss + 0.1},{step / 1000},{1 + step / 1000 if step % every == 0 else ''}"
        for step, loss in curve.train
    ]
    file = tmp_path / "result.csv"
    file.write_text("\n".join(lines))
    result = loss_curves.from_file(file)
    assert len(result.evals) == (6 if uses_full_loss else len(curve.train)), (
        "one point is not a series"
    )
    assert ("valid_accuracy" in result.scores) != uses_full_loss, "it is also from one batch only"
    verdict = diagnose(result)
    assert (verdict.pattern == "overfit") == uses_full_loss
    assert (verdict.best_step == 100) == uses_full_loss


@pytest.mark.parametrize("apart", [False, True])
def test_several_validation_sets_are_averaged(
    tmp_path: Path, curve: Curve, home: Path, apart: bool
) -> None:
    rows: list[dict[str, Any]] = [{"step": step, "loss": loss} for step, loss in curve.train]
    for step, loss in curve.evals:
        a = {"eval_a_loss": loss - 0.25, "eval_a_runtime": 1.0}
        b = {"eval_b_loss": loss + 0.25, "eval_b_runtime": 1.0, "eval_nll_loss": 9.0}
        rows += [{"step": step, **a}, {"step": step, **b}] if apart else [{"step": step, **a, **b}]
    rows.append({"step": 601, "eval_a_loss": 0.1})
    file = tmp_path / "trainer_state.json"
    file.write_text(json.dumps({"log_history": rows}))
    result = loss_curves.from_file(file)
    assert list(result.eval_sets) == ["a", "b"]
    assert [step for step, _ in result.evals] == [step for step, _ in curve.evals]
    assert [loss for _, loss in result.evals] == pytest.approx([loss for _, loss in curve.evals])
    assert "20 validation losses (each the mean of a, b)" in ok("diagnose", file)


def test_loss_component_is_not_a_validation_set(curve: Curve) -> None:
    rows = [{"step": step, "eval_loss": loss, "eval_nll_loss": 9.0} for step, loss in curve.evals]
    result = loss_curves.from_rows(rows)
    assert list(result.evals) == list(curve.evals) and not result.eval_sets


@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize(
    "names",
    [
        ("step", "train_loss", "val_loss"),
        ("Step", "Training Loss", "Validation Loss"),
        ("STEP", " Loss", "Eval Loss "),
    ],
)
def test_csv_accepts_common_column_names_and_separators(
    tmp_path: Path, curve: Curve, separator: str, names: tuple[str, ...]
) -> None:
    evals = dict(curve.evals)
    lines = [(str(step), str(loss), str(evals.get(step, ""))) for step, loss in curve.train]
    file = tmp_path / "log.csv"
    text = "\n".join(separator.join(line) for line in [names, *lines])
    for written in (text, text.replace(".", ",") if separator == ";" else text):
        file.write_text(written)
        assert same(loss_curves.from_file(file), curve)


def test_from_file_reads_a_keras_history(tmp_path: Path) -> None:
    file = tmp_path / "history.json"
    file.write_text(json.dumps({"loss": [2, 1.5, 1.1], "val_loss": [1.8, 1.5, 1.4], "lr": []}))
    result = loss_curves.from_file(file)
    assert list(result.train) == [(1, 2.0), (2, 1.5), (3, 1.1)]
    assert list(result.evals) == [(1, 1.8), (2, 1.5), (3, 1.4)]
    file.write_text(json.dumps({"step": 7, "loss": 1.5, "tags": ["a", "b"]}))
    assert list(loss_curves.from_file(file).train) == [(7, 1.5)], (
        "lists of other values are not columns"
    )


def test_loss_column_alone_is_enough(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text("loss\n2\n1.5\n")
    assert list(loss_curves.from_file(file).train) == [(1, 2.0), (2, 1.5)]


@pytest.mark.parametrize(
    "content",
    ["cost,perplexity\n1,2\n", "cost;perplexity\n1;2\n", "cost\tperplexity\n1\t2\n",
     '{"cost": [1, 2], "perplexity": [2, 3]}', '[{"cost": 1}, {"perplexity": 2}]',
     '{"cost": 1}\n{"perplexity": 2}\n'],
)  # fmt: skip
def test_error_lists_columns_when_none_is_a_loss(tmp_path: Path, content: str) -> None:
    file = tmp_path / "what"
    file.write_text(content)
    with pytest.raises(FtwizardError, match=r"curve\. Its columns: cost, perplexity\."):
        loss_curves.from_file(file)


def test_from_file_reads_json_lines(tmp_path: Path, curve: Curve) -> None:
    lines = tmp_path / "log.jsonl"
    lines.write_text("\n".join(json.dumps(row) for row in log_history(curve)[:-1]))
    assert same(loss_curves.from_file(lines), curve)


def test_invalid_steps_are_skipped(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    points: list[list[Any]] = [[step, 2 - step / 40] for step in range(1, 40)]
    wrong: list[list[Any]] = [["nan", 1.0], ["inf", 1.0], [1e300, 1.0], ["x", 1.0], [None, 1.0]]
    rows = [{"step": step, "loss": loss} for step, loss in (*wrong, *points)]
    rows += [{"step": step, "eval_loss": loss} for step, loss in (*wrong, *points[::5])]
    file.write_text(json.dumps(rows))
    result = loss_curves.from_file(file)
    assert [list(point) for point in result.train] == points and len(result.evals) == 8
    assert diagnose(result).best_step == 36
    file.write_text(json.dumps({"log_history": [{"step": 1, "loss": 1.0}], "max_steps": "inf"}))
    assert loss_curves.from_file(file).total_steps is None


def test_logged_rewards_mark_a_reinforcement_run(tmp_path: Path) -> None:
    rows = [{"step": k, "loss": 0.0, "reward": k / 10, "kl": 0.01} for k in range(1, 30)]
    file = tmp_path / "log.json"
    file.write_text(json.dumps(rows))
    result = loss_curves.from_file(file)
    assert result.objective == "grpo"
    assert diagnose(result).pattern != "zero_loss"


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"{}", b"[1, 2]", b"a,b\n1,2\n", b"\x00\xff" * 50, b'{"train": 3}']
)
def test_file_without_a_loss_curve_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "what"
    file.write_bytes(content)
    with pytest.raises(FtwizardError, match="contains no loss curve") as error:
        loss_curves.from_file(file)
    assert "trainer_state.json" in error.value.hint


def test_run_curve_lists_checkpoints_on_disk(home: Path) -> None:
    folder = make_run(home, "some", steps=6)
    read = read_progress(folder)
    assert loss_curves.from_progress(read).checkpoints == sorted(read.checkpoints)
    assert loss_curves.from_progress(read, folder).checkpoints == []
    (folder.path / "checkpoints" / f"checkpoint-{min(read.checkpoints, default=2)}").mkdir(
        parents=True
    )
    assert len(loss_curves.from_progress(read, folder).checkpoints or ()) == bool(read.checkpoints)


@pytest.mark.parametrize("vocabulary", [32_000, "32000", None])
def test_run_curve_uses_the_logged_vocabulary_size(tmp_path: Path, vocabulary: Any) -> None:
    folder = JobFolder(tmp_path)
    events = EventWriter(folder.events, 1)
    events.write(
        "phase", phase="training", step=0, total=600, vocabulary=vocabulary, accumulation=4,
        mixes_rows=True,
    )  # fmt: skip
    for step, loss in running_away(1).train:
        events.write("log", step=int(step), loss=loss)
    events.close()
    expected = vocabulary == 32_000
    for result in (
        loss_curves.from_progress(read_progress(folder)),
        loss_curves.from_file(folder.events),
    ):
        assert result.vocabulary == (32_000 if expected else None) and result.accumulation == 4
        assert result.mixes_rows
        first = to_findings(diagnose(result))[0]
        assert first.code == "diverged" and ("random guessing" in first.message) == expected


@pytest.mark.parametrize("file", sorted(GALLERY.glob("*.json")), ids=lambda file: file.stem)
def test_gallery_curves_get_their_labeled_pattern(file: Path) -> None:
    document = json.loads(file.read_text())
    verdict = diagnose(loss_curves.from_file(file))
    assert verdict.pattern in (document["label"], *document["also_acceptable"])
    if document["label"] == "overfit":
        assert verdict.onset_step == document["onset_step"]


# ------------------------------------------------------------------ the command


def test_diagnose_reports_a_file_as_json_and_text(tmp_path: Path, curve: Curve, home: Path) -> None:
    file = tmp_path / "trainer_state.json"
    file.write_text(json.dumps({"log_history": log_history(curve)}))
    document = as_json("diagnose", file)
    assert set(document) >= {
        "pattern", "also", "onset_step", "best_step", "confidence", "evidence", "action", "findings",
    }  # fmt: skip
    assert document["pattern"] == document["findings"][0]["code"] == "overfit"
    best = min(curve.evals, key=lambda point: point[1])
    assert (document["best_step"], document["best_eval_loss"]) == best
    text = ok("diagnose", file)
    assert text.startswith("! overfitting (") and "→ Stop now and keep the best" in text


def test_diagnose_rejects_a_folder_and_a_missing_file(tmp_path: Path, home: Path) -> None:
    for name, words in (
        (tmp_path, "contains no loss curve"),
        (tmp_path / "nope.json", "does not exist"),
    ):
        done = run("diagnose", name)
        assert done.returncode == 1 and words in done.stderr
        assert "Traceback" not in done.stderr
