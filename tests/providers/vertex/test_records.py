"""Jobs of Google's SDK in our words: recorded replies, and fields that are missing or new."""

from __future__ import annotations

import datetime
import time
from typing import Any

import pytest
from google.genai import types

from ftwizard.providers.vertex import records
from ftwizard.providers.vertex.jobs import match_jobs
from ftwizard.runs.remote import JobState, RemoteFile, RemoteJob
from tests.providers.vertex.world import TAG

NAME = "projects/123456789/locations/us-central1/tuningJobs/4567890123456789"
EXPERIMENT = (
    "projects/123456789/locations/us-central1/metadataStores/default/contexts/tuning-experiment-1"
)
ROWS = f"gs://rows/ftwizard/{TAG}/train.jsonl"


def make_job(**fields: Any) -> types.TuningJob:
    record = {
        "name": NAME,
        "baseModel": "gemini-3.1-flash-lite",
        "state": "JOB_STATE_RUNNING",
        "createTime": "2026-11-29T05:48:28.123456Z",
        "supervisedTuningSpec": {
            "trainingDatasetUri": ROWS,
            "hyperParameters": {
                "epochCount": "10", "learningRateMultiplier": 1.0, "adapterSize": "ADAPTER_SIZE_FOUR",
            },
        },
        "tuningDataStats": {
            "supervisedTuningDataStats": {
                "tuningDatasetExampleCount": "500", "totalBillableTokenCount": "255243",
                "tuningStepCount": "1200", "totalTruncatedExampleCount": "2",
                "droppedExampleReasons": ["row 3: empty"],
            }
        },
    }  # fmt: skip
    return types.TuningJob.model_validate(record | fields)


@pytest.mark.parametrize(
    ("state", "inner", "meaning"),
    [
        ("QUEUED", "", "pending"),
        ("PENDING", "", "pending"),
        ("UNSPECIFIED", "", "pending"),
        ("RUNNING", "WAITING_FOR_QUOTA", "pending"),
        ("RUNNING", "WAITING_FOR_CAPACITY", "pending"),
        ("RUNNING", "PROCESSING_DATASET", "pending"),
        ("RUNNING", "TUNING", "running"),
        ("RUNNING", "POST_PROCESSING", "running"),
        ("RUNNING", "", "running"),
        ("UPDATING", "", "running"),
        ("CANCELLING", "TUNING", "running"),
        ("PAUSED", "", "paused"),
        ("SUCCEEDED", "WAITING_FOR_QUOTA", "succeeded"),
        ("PARTIALLY_SUCCEEDED", "", "succeeded"),
        ("FAILED", "", "failed"),
        ("EXPIRED", "", "failed"),
        ("CANCELLED", "", "cancelled"),
    ],
)
def test_what_a_state_means(state: str, inner: str, meaning: JobState) -> None:
    fields = {"tuningJobState": f"TUNING_JOB_STATE_{inner}"} if inner else {}
    assert records.get_state(make_job(state=f"JOB_STATE_{state}", **fields)) == meaning


@pytest.mark.filterwarnings("ignore:.*is not a valid")
def test_a_state_that_nobody_knows_ends_nothing() -> None:
    job = make_job(state="JOB_STATE_REBALANCING\x1b[31m", tuningJobState="TUNING_JOB_STATE_NAP")
    status = records.convert_job(job)
    assert status.state == "running"
    assert status.status.startswith("REBALANCING")
    assert "\x1b" not in status.status
    assert records.list_events(job)


def test_a_recorded_job_that_failed_with_a_model() -> None:
    job = make_job(
        state="JOB_STATE_FAILED",
        error={"code": 13, "message": "Failed to create endpoint. Tuned model is uploaded."},
        tunedModel={"model": "projects/123456789/locations/us-central1/models/9@1"},
    )
    status = records.convert_job(job)
    assert status.error_code == "INTERNAL"
    assert status.tuned_model == "projects/123456789/locations/us-central1/models/9@1"
    assert "probably billed" in status.hint
    # Google counts the tokens of the file, and bills them each epoch.
    assert status.trained_tokens == 2_552_430


def test_tokens_are_billed_for_what_was_trained_only() -> None:
    assert records.convert_job(make_job()).trained_tokens is None
    assert records.convert_job(make_job(state="JOB_STATE_SUCCEEDED")).trained_tokens == 2_552_430


def test_what_google_chose_is_read() -> None:
    status = records.convert_job(make_job())
    assert status.settings == {"epoch_count": 10, "learning_rate_multiplier": 1, "adapter_size": 4}
    assert status.planned["location"] == "us-central1"
    assert status.total_steps == 1200
    assert status.training_file == ROWS


def test_a_job_with_nothing_in_it() -> None:
    status = records.convert_job(types.TuningJob(name=NAME))
    assert status.state == "pending"
    assert status.settings == {}
    assert records.list_events(types.TuningJob(name=NAME))
    assert records.read_checkpoints(types.TuningJob(name=NAME)) == []


def test_the_rows_are_reported_with_what_google_cut() -> None:
    messages = {event.id: event for event in records.list_events(make_job())}
    assert messages["dataset"].message == "Google read 500 rows, 255,243 tokens each epoch."
    assert messages["truncated"].level == "warning"
    assert "2 rows" in messages["truncated"].message
    assert "row 3: empty" in messages["dropped"].message


def test_a_job_without_any_change_is_reported_once() -> None:
    old = datetime.datetime.fromtimestamp(time.time() - 7 * 3600, datetime.UTC).isoformat()
    job = make_job(tuningJobState="TUNING_JOB_STATE_TUNING", updateTime=old)
    assert [event.id for event in records.list_events(job)].count("stalled") == 1
    recent = make_job(tuningJobState="TUNING_JOB_STATE_TUNING", updateTime=None)
    assert "stalled" not in [event.id for event in records.list_events(recent)]


def test_a_gemini_that_never_gets_an_endpoint_ends() -> None:
    now = datetime.datetime.fromtimestamp(time.time(), datetime.UTC)
    old = now - datetime.timedelta(hours=1)
    tuned = {"model": "projects/1/locations/us-central1/models/9@1"}
    fresh = make_job(state="JOB_STATE_SUCCEEDED", endTime=now.isoformat(), tunedModel=tuned)
    assert records.get_state(fresh) == "running"
    late = make_job(state="JOB_STATE_SUCCEEDED", endTime=old.isoformat(), tunedModel=tuned)
    assert records.get_state(late) == "succeeded"
    assert records.get_tuned_model(late) == tuned["model"]


def test_links_lead_to_the_console() -> None:
    assert records.get_job_url(NAME) == (
        "https://console.cloud.google.com/vertex-ai/generative/language/locations/us-central1/tuning/"
        "tuningJob/4567890123456789?project=123456789"
    )
    assert records.get_experiment_url(EXPERIMENT) == (
        "https://console.cloud.google.com/vertex-ai/experiments/locations/us-central1/experiments/"
        "tuning-experiment-1/runs?project=123456789"
    )
    assert records.get_job_url("ftjob-1") is None
    assert records.get_experiment_url("tuning-experiment-1") is None
    assert records.get_experiment_url(None) is None


def test_a_job_is_matched_by_label_then_name_then_rows() -> None:
    file = RemoteFile(path="", name=ROWS, rows=1, size_bytes=1, id=ROWS)
    remote = RemoteJob(provider="vertex", tag=TAG, model="m", files={"train": file})
    other = {"trainingDatasetUri": "gs://rows/other.jsonl"}
    labelled = make_job(labels={"ftwizard-run": TAG}, supervisedTuningSpec=other)
    named = make_job(tunedModelDisplayName=f"support-{TAG}", supervisedTuningSpec=other)
    by_rows = make_job()
    foreign = make_job(labels={"ftwizard-run": "x"}, supervisedTuningSpec=other)
    assert match_jobs([by_rows, foreign, named, labelled], remote) == [labelled]
    assert match_jobs([by_rows, foreign, named], remote) == [named]
    assert match_jobs([by_rows, foreign], remote) == [by_rows]
    assert match_jobs([foreign], remote) == []


def test_of_two_jobs_of_a_run_the_one_with_a_result_counts() -> None:
    remote = RemoteJob(provider="vertex", tag=TAG, model="m")
    labels = {"ftwizard-run": TAG}
    failed = make_job(labels=labels, state="JOB_STATE_FAILED", createTime="2026-11-01T00:00:00Z")
    second = make_job(labels=labels, createTime="2026-11-03T00:00:00Z")
    first = make_job(labels=labels, createTime="2026-11-02T00:00:00Z")
    assert match_jobs([second, failed, first], remote) == [first, second, failed]
