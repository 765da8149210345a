"""Tables that a job writes: several lines of a step, other columns, and damage."""

from __future__ import annotations

import pytest

from ftwizard.providers.bedrock.results import count_rejected, read_metrics

FOLDER = "ftwizard/output/model-customization-job-1/"
TRAIN = f"{FOLDER}training_artifacts/step_wise_training_metrics.csv"
NESTED = (
    f"{FOLDER}validation_artifacts/post_fine_tuning_validation/validation/validation_metrics.csv"
)
FLAT = f"{FOLDER}validation_artifacts/post_fine_tuning_validation/validation_metrics.csv"


@pytest.mark.parametrize("validation", [NESTED, FLAT])
def test_the_lines_of_a_step_are_averaged(validation: str) -> None:
    tables = {
        TRAIN: b"step_number,epoch_number,training_loss,perplexity\n"
               b"0,0,2.0,8\n0,0,1.0,6\n1,0,0.5,1.5\n",
        validation: b"\xef\xbb\xbfperplexity,step_number,validation_loss,epoch_number\n3,1,0.75,0\n",
        f"{FOLDER}input_status/manifest.report.csv": b"step_number,x\n5,5\n",
    }  # fmt: skip
    first, second = read_metrics(tables)
    assert (first.step, first.metrics) == (1, {"loss": 1.5, "epoch": 0, "perplexity": 7})
    assert (second.id, second.step) == ("result-2", 2)
    assert second.metrics == {
        "loss": 0.5, "epoch": 0, "perplexity": 1.5, "eval_loss": 0.75, "eval_perplexity": 3
    }  # fmt: skip


def test_rewards_have_our_names() -> None:
    table = (
        b"step_number,critic/rewards/mean,val-score/rewards/mean@1,actor/pg_loss,actor/grad_norm\n"
        b"1,0.25,0.5,0.01,1.5\n"
    )
    (event,) = read_metrics({TRAIN: table})
    assert event.step == 1
    assert event.metrics == {
        "reward": 0.25, "eval_reward": 0.5, "actor/pg_loss": 0.01, "grad_norm": 1.5
    }  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\0", b"<html>no table</html>", b"step_number,training_loss\nx,1\n-1,1\nnan,1\n,\n",
     b"training_loss\n1\n", b"step_number\n1\n", b"step_number,training_loss\n1,nan\n2,inf\n"],
)  # fmt: skip
def test_what_is_not_a_table_has_no_steps(content: bytes) -> None:
    assert read_metrics({TRAIN: content}) == []


def test_names_of_columns_are_made_visible() -> None:
    (event,) = read_metrics({TRAIN: "step_number,a\u202eb\n1,2\n".encode()})
    assert event.metrics == {"a\\u202eb": 2}


def test_rejected_rows_are_counted() -> None:
    head = "fileName,totalProcessedRecordCount,acceptedRecordCount,rejectedRecordCount\n"
    tables = {
        "a/manifest.report.csv": f"{head}t.jsonl,10,8,2\n".encode(),
        "b/manifest.report.csv": f"{head}v.jsonl,5,4,1\nodd,x,y,z\n".encode(),
        TRAIN: f"{head}t.jsonl,10,8,2\n".encode(),
    }
    assert count_rejected(tables) == (3, 15)
