"""Double of Vertex AI and Cloud Storage, under the real SDKs."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import google.auth
import google.auth.transport.requests
import httpx2
import pytest
from google.api_core import exceptions as storage_errors
from google.auth.exceptions import RefreshError
from google.cloud import storage
from google.genai import Client, errors, types

from tests.doubles.vertex_service import (
    BUCKET,
    NO_ENDPOINT,
    PROJECT_NUMBER,
    Bucket,
    Fault,
    RunningVertex,
    Scenario,
    VertexFailure,
    VertexPace,
    limit_rate,
    serve,
    serve_process,
)
from tests.helpers.hosted_doubles import VertexDouble, serve_double

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore::google.genai._common.ExperimentalWarning"),
]
FLASH = "gemini-3.5-flash"
QWEN = "qwen/qwen3@qwen3-32b"
QUIET = types.GenerateContentConfig(
    thinking_config=types.ThinkingConfig(thinking_level=types.ThinkingLevel.MINIMAL)
)


@pytest.fixture
def vertex(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningVertex]:
    """Serve a scenario, by default the one where everything works, and set the environment."""
    with serve(getattr(request, "param", None)) as service:
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
        yield service


def with_scenario(**fields: Any) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vertex", [Scenario(**fields)], indirect=True)


def make_rows(count: int = 12, name: str = "row") -> bytes:
    """Return rows of generateContent as a file."""
    return b"".join(
        json.dumps(
            {
                "systemInstruction": {"role": "system", "parts": [{"text": "Be brief."}]},
                "contents": [
                    {"role": "user", "parts": [{"text": f"Capital of {name} {number}?"}]},
                    {"role": "model", "parts": [{"text": f"City {number}"}]},
                ],
            }
        ).encode()
        + b"\n"
        for number in range(count)
    )


def upload(data: bytes, name: str = "train.jsonl", **options: Any) -> str:
    """Upload a file with the SDK of Cloud Storage; return its address."""
    blob = storage.Client(project="demo-project").bucket(BUCKET).blob(name)
    blob.upload_from_file(io.BytesIO(data), size=len(data), if_generation_match=0, **options)
    return f"gs://{BUCKET}/{name}"


def create(client: Client, uri: str = "", model: str = FLASH, **options: Any) -> types.TuningJob:
    """Create a job, with a new file of rows unless there is one."""
    uri = uri or upload(make_rows())
    options = {"epoch_count": 4, **options}
    job: types.TuningJob = client.tunings.tune(
        base_model=model,
        training_dataset=types.TuningDataset(gcs_uri=uri),
        config=types.CreateTuningJobConfig(**options),
    )
    return job


def list_jobs(vertex: RunningVertex) -> list[types.TuningJob]:
    client = vertex.make_client()  # one that is not kept closes its connections
    return list(client.tunings.list())


def look(client: Client, job: types.TuningJob) -> types.TuningJob:
    assert job.name
    return client.tunings.get(name=job.name)


def finish(client: Client, job: types.TuningJob) -> tuple[types.TuningJob, list[str]]:
    """Look at a job until it has ended; return it and the states that it was in."""
    states = [job.state.name if job.state else ""]
    while not job.has_ended:
        job = look(client, job)
        assert job.state
        detail = f" {job.tuning_job_state.name[17:]}" if job.tuning_job_state else ""
        states.append(job.state.name + detail)
    return job, [state.removeprefix("JOB_STATE_") for state in dict.fromkeys(states)]


def ask(client: Client, model: str, prompt: str, config: Any = QUIET) -> str | None:
    return client.models.generate_content(model=model, contents=prompt, config=config).text


def test_a_job_runs_from_upload_to_a_better_model(vertex: RunningVertex) -> None:
    client = vertex.make_client()
    job = create(
        client,
        validation_dataset=types.TuningValidationDataset(
            gcs_uri=upload(make_rows(3, "other"), "valid.jsonl")
        ),
        tuned_model_display_name="capitals",
        labels={"run": "a1"},
        adapter_size=types.AdapterSize.ADAPTER_SIZE_FOUR,
    )
    assert job.name and job.name.startswith(f"projects/{PROJECT_NUMBER}/locations/us-central1/")
    assert job.tuned_model is None
    job, states = finish(client, job)
    assert states == [
        "PENDING", "RUNNING PROCESSING_DATASET", "RUNNING TUNING", "RUNNING POST_PROCESSING",
        "SUCCEEDED",
    ]  # fmt: skip
    assert job.tuned_model and job.tuned_model.endpoint and job.labels == {"run": "a1"}
    assert "/locations/us/endpoints/" in job.tuned_model.endpoint
    assert job.supervised_tuning_spec and job.supervised_tuning_spec.hyper_parameters
    assert job.supervised_tuning_spec.hyper_parameters.epoch_count == 4
    assert job.tuning_data_stats and job.tuning_data_stats.supervised_tuning_data_stats
    stats = job.tuning_data_stats.supervised_tuning_data_stats
    assert stats.tuning_dataset_example_count == 12
    assert stats.user_input_token_distribution and stats.user_output_token_distribution
    tokens = stats.user_input_token_distribution.sum, stats.user_output_token_distribution.sum
    assert tokens[0] and tokens[1] and stats.total_billable_token_count == sum(tokens)  # type: ignore[arg-type]

    prompt, us = "Capital of row 5?", vertex.make_client("us")
    assert ask(us, FLASH, prompt) != "City 5"
    assert ask(us, job.tuned_model.endpoint, prompt) == "City 5"
    chunks = us.models.generate_content_stream(
        model=job.tuned_model.endpoint, contents=prompt, config=QUIET
    )
    assert "".join(chunk.text or "" for chunk in chunks) == "City 5"


def test_without_epochs_the_service_takes_very_many(vertex: RunningVertex) -> None:
    client = vertex.make_client()
    job = create(client, upload(make_rows(100)), epoch_count=None)
    job = look(client, job)
    assert job.supervised_tuning_spec and job.supervised_tuning_spec.hyper_parameters
    assert job.supervised_tuning_spec.hyper_parameters.epoch_count == 40


def test_each_epoch_is_a_checkpoint_unless_only_the_last_is_kept(vertex: RunningVertex) -> None:
    client = vertex.make_client()
    uri = upload(make_rows())
    job, _ = finish(client, create(client, uri))
    assert job.tuned_model and job.tuned_model.checkpoints
    assert [each.epoch for each in job.tuned_model.checkpoints] == [1, 2, 3, 4]
    assert job.tuned_model.checkpoints[-1].endpoint == job.tuned_model.endpoint
    first = job.tuned_model.checkpoints[0].endpoint
    assert first and ask(vertex.make_client("us"), first, "Capital of row 5?") == "City 5"
    job, _ = finish(client, create(client, uri, export_last_checkpoint_only=True))
    assert job.tuned_model and not job.tuned_model.checkpoints


def test_equal_creations_make_two_jobs_and_are_listed(vertex: RunningVertex) -> None:
    client, uri = vertex.make_client(), upload(make_rows())
    names = [create(client, uri, labels={"run": run}).name for run in ("a1", "a1", "b2")]
    assert len(set(names)) == 3 == len(vertex.control.list_jobs())
    config = types.ListTuningJobsConfig(page_size=2)
    assert [job.name for job in client.tunings.list(config=config)] == names[::-1]
    config = types.ListTuningJobsConfig(filter='labels.run="a1"')
    assert [job.name for job in client.tunings.list(config=config)] == names[1::-1]
    config = types.ListTuningJobsConfig(filter='state="JOB_STATE_RUNNING"')
    assert list(client.tunings.list(config=config)) == []
    with pytest.raises(errors.ClientError, match="Invalid filter"):
        client.tunings.list(config=types.ListTuningJobsConfig(filter="size > 3"))
    client = vertex.make_client("europe-west4")
    assert list(client.tunings.list()) == []


def test_a_job_is_canceled_and_an_ended_one_is_not(vertex: RunningVertex) -> None:
    client = vertex.make_client()
    job = create(client)
    assert job.name
    client.tunings.cancel(name=job.name)
    assert vertex.control.list_jobs()[0]["state"] == "JOB_STATE_CANCELLING"
    job = look(client, job)
    assert job.state is types.JobState.JOB_STATE_CANCELLED and job.error and job.error.code == 1
    with pytest.raises(errors.ClientError, match="FAILED_PRECONDITION"):
        client.tunings.cancel(name=str(job.name))


def test_an_open_model_writes_weights_and_is_not_served(vertex: RunningVertex) -> None:
    from safetensors.numpy import load

    client = vertex.make_client("global")
    out = f"gs://{BUCKET}/ft/out"
    job = create(client, model=QWEN, output_uri=out, epoch_count=2, learning_rate=2e-4)
    job, _ = finish(client, job)
    assert job.tuned_model and job.tuned_model.model and not job.tuned_model.endpoint
    assert "/locations/us-central1/models/" in job.tuned_model.model
    (twin,) = list_jobs(vertex)
    assert str(twin.name).rpartition("/")[2] == str(job.name).rpartition("/")[2]
    root = "ft/out/postprocess/node-0/checkpoints/"
    bucket = storage.Client(project="demo-project").bucket(BUCKET)
    files = {blob.name.removeprefix(root): blob for blob in bucket.list_blobs(prefix=root)}
    folders = {name.partition("/")[0] for name in files}
    assert folders == {"final", "checkpoint-1", "checkpoint-2"}
    config = json.loads(files["final/adapter_config.json"].download_as_bytes())
    weights = load(files["final/adapter_model.safetensors"].download_as_bytes())
    assert {tensor.shape for tensor in weights.values()} == {(config["r"], 32), (32, config["r"])}
    assert [file["name"] for file in vertex.control.list_files()] == ["train.jsonl"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "gemini-2.5-flash"}, "is not supported"),
        ({"adapter_size": "ADAPTER_SIZE_THIRTY_TWO"}, "adapter size is not supported"),
        ({"batch_size": 4}, "batchSize is not supported"),
        ({"output_uri": f"gs://{BUCKET}/out"}, "output_uri field is not supported"),
        ({"beta": 0.1}, "oneof field 'tuning_spec' is already set"),
        ({"labels": {"Run": "a"}}, "Invalid label"),
        ({"tuned_model_display_name": "x" * 129}, "128 characters"),
        ({"uri": f"gs://{BUCKET}/none.jsonl"}, "does not exist"),
        ({"uri": f"gs://{BUCKET}/rows.csv"}, "type JSONL"),
        ({"model": "qwen/qwen3"}, "Invalid open source publisher model"),
        ({"model": QWEN}, "output_uri field is required"),
        ({"model": QWEN, "output_uri": f"gs://{BUCKET}/out", "learning_rate_multiplier": 1.0}, "Multiplier"),
        ({"model": "qwen/qwen3@qwen3-8b", "output_uri": f"gs://{BUCKET}/out", "adapter_size": "ADAPTER_SIZE_FOUR"}, "adapter size"),
    ],
)  # fmt: skip
def test_what_the_service_refuses(
    vertex: RunningVertex, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(errors.ClientError) as error:
        create(vertex.make_client(), **options)
    assert error.value.code == 400 and words in str(error.value.message)
    assert vertex.control.list_jobs() == []


def test_gemini_is_not_tuned_at_global(vertex: RunningVertex) -> None:
    uri = upload(make_rows())
    with pytest.raises(errors.ClientError) as error:
        create(vertex.make_client("global"), uri)
    assert error.value.status == "FAILED_PRECONDITION"
    with pytest.raises(errors.ClientError) as error:
        create(vertex.make_client("mars-north1"), uri)
    assert error.value.code == 404


def test_a_validation_file_above_a_quarter_is_refused_for_open_models(
    vertex: RunningVertex,
) -> None:
    validation = types.TuningValidationDataset(gcs_uri=upload(make_rows(4), "valid.jsonl"))
    options: dict[str, Any] = {"validation_dataset": validation, "output_uri": f"gs://{BUCKET}/out"}
    client, uri = vertex.make_client(), upload(make_rows(12))
    with pytest.raises(errors.ClientError, match="25%"):
        create(client, uri, model=QWEN, **options)
    create(client, upload(make_rows(20), "more.jsonl"), model=QWEN, **options)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"contents": []}\n', "must end with the role model"),
        (b'{"messages": []}\n', "has no field contents"),
        (make_rows(2) + b"no JSON\n", "Dataset example 3 of 3"),
        (make_rows(1).replace(b'"model"', b'"assistant"'), "valid roles are user and model"),
        (b"\n", "empty"),
    ],
)
def test_a_file_that_is_wrong_fails_the_job(vertex: RunningVertex, data: bytes, words: str) -> None:
    client = vertex.make_client()
    job, states = finish(client, create(client, upload(data)))
    assert states == ["PENDING", "FAILED"] and job.error and job.error.code == 3
    assert "training_dataset_uri; Message: " in str(job.error.message)
    assert words in str(job.error.message)


@with_scenario(failure=NO_ENDPOINT)
def test_a_failed_job_can_have_a_model(vertex: RunningVertex) -> None:
    client = vertex.make_client()
    job, _ = finish(client, create(client))
    assert job.state is types.JobState.JOB_STATE_FAILED and job.error and job.error.code == 13
    assert job.tuned_model and job.tuned_model.model and job.tuned_model.endpoint is None


@with_scenario(failure=VertexFailure(at="tuning", code=13, message="Internal error.", epoch=2))
def test_a_job_fails_in_its_training(vertex: RunningVertex) -> None:
    client = vertex.make_client()
    job, states = finish(client, create(client))
    assert "RUNNING TUNING" in states and job.error and job.error.message == "Internal error."
    assert job.tuning_job_metadata and job.tuning_job_metadata.completed_epoch_count == 2


@with_scenario(buckets={BUCKET: Bucket(is_open_to_agents=False)})
def test_a_bucket_that_the_service_cannot_read_fails_the_job(vertex: RunningVertex) -> None:
    client = vertex.make_client()
    job, _ = finish(client, create(client))
    assert job.error and job.error.code == 7
    assert f"service-{PROJECT_NUMBER}@gcp-sa-vertex-tune" in str(job.error.message)


@with_scenario(max_running=1)
def test_a_second_job_waits_for_quota(vertex: RunningVertex) -> None:
    client, uri = vertex.make_client(), upload(make_rows())
    first, second = create(client, uri), create(client, uri)
    look(client, first)
    detail = look(client, second).tuning_job_state
    assert detail is types.TuningJobState.TUNING_JOB_STATE_WAITING_FOR_QUOTA
    finish(client, first)
    assert finish(client, second)[0].has_succeeded


@with_scenario(list_delay=2, endpoint_polls=1, odd_fields=True, odd_state="JOB_STATE_RESTING")
def test_lists_and_endpoints_are_late_and_words_are_new(vertex: RunningVertex) -> None:
    client = vertex.make_client()
    job = create(client)
    assert [len(list(client.tunings.list())) for _ in range(3)] == [0, 0, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        job, states = finish(client, job)
    assert "RESTING TUNING" in states
    assert job.tuned_model and job.tuned_model.endpoint is None
    job = look(client, job)
    assert job.tuned_model and job.tuned_model.endpoint


@with_scenario(pace=VertexPace(clock="time", stage_s=0.01))
def test_time_moves_jobs(vertex: RunningVertex) -> None:
    client = vertex.make_client()
    job = create(client)
    for _ in range(1000):
        if (job := look(client, job)).has_ended:
            break
    assert job.has_succeeded


def test_a_job_stands_still_until_it_is_continued(vertex: RunningVertex) -> None:
    vertex.control.change(pace=VertexPace(hold_at=1))
    client = vertex.make_client()
    job = create(client)
    for _ in range(6):
        job = look(client, job)
    assert job.tuning_job_state is types.TuningJobState.TUNING_JOB_STATE_TUNING
    vertex.control.continue_job()
    assert finish(client, job)[0].has_succeeded


def test_models_answer_where_they_are(vertex: RunningVertex) -> None:
    client = vertex.make_client()
    names = [model.name for model in client.models.list(config={"query_base": True})]
    assert f"publishers/google/models/{FLASH}" in names
    assert client.models.get(model=FLASH).name
    with pytest.raises(errors.ClientError) as error:
        client.models.get(model="gemini-2.5-flash")
    assert error.value.code == 404
    job, _ = finish(client, create(client))
    assert job.tuned_model and job.tuned_model.endpoint and job.tuned_model.model
    for location in ("us-central1", "eu"):
        other = vertex.make_client(location)
        with pytest.raises(errors.ClientError) as error:
            ask(other, job.tuned_model.endpoint.replace("/us/", f"/{location}/"), "Hello")
        assert error.value.code == 404
    with pytest.raises(errors.ClientError) as error:
        ask(client, FLASH, "Hello")
    assert error.value.code == 404
    with pytest.raises(errors.ClientError, match="endpoint"):
        ask(client, job.tuned_model.model, "Hello")
    client.models.delete(model=job.tuned_model.model.partition("@")[0])
    with pytest.raises(errors.ClientError) as error:
        client.models.delete(model=job.tuned_model.model.partition("@")[0])
    assert error.value.code == 404


def test_thoughts_use_up_the_output(vertex: RunningVertex) -> None:
    us = vertex.make_client("us")
    config = types.GenerateContentConfig(max_output_tokens=32)
    reply = us.models.generate_content(model=FLASH, contents="Hello", config=config)
    assert reply.candidates and reply.usage_metadata and not reply.text
    assert reply.candidates[0].finish_reason is types.FinishReason.MAX_TOKENS
    assert reply.usage_metadata.thoughts_token_count == 32
    config = QUIET.model_copy(update={"max_output_tokens": 32})
    assert ask(us, FLASH, "Hello", config) == "I am not sure."
    reply = us.models.generate_content(model=FLASH, contents="Please block this", config=config)
    assert reply.prompt_feedback and reply.prompt_feedback.block_reason and not reply.candidates
    with pytest.raises(errors.ClientError, match="temperature value of 3"):
        ask(us, FLASH, "Hello", types.GenerateContentConfig(temperature=3))


def test_a_reward_is_tried(vertex: RunningVertex) -> None:
    client = vertex.make_client()
    source = "def evaluate(example, response):\n    print('hello')\n    return {}"

    def try_reward(result: str) -> types.ValidateRewardResponse:
        scorer = types.ReinforcementTuningCodeExecutionRewardScorer(
            python_code_snippet=source.format(result)
        )
        return client.tunings.validate_reward(
            parent="projects/demo-project/locations/us-central1",
            sample_response=types.Content(role="model", parts=[types.Part(text="42")]),
            example=types.ReinforcementTuningExample(
                contents=[types.Content(role="user", parts=[types.Part(text="6 x 7?")])],
                references={"answer": "42"},
            ),
            single_reward_config=types.SingleReinforcementTuningRewardConfig(
                reward_name="exact", code_execution_reward_scorer=scorer
            ),
        )

    answer = "response['parts'][0]['text'] == example['references']['answer']"
    assert try_reward(answer).overall_reward == 1.0
    assert try_reward("7").overall_reward == 1.0
    assert "ZeroDivisionError" in str(try_reward("1 / 0").error)


# Logins, projects, buckets


def test_default_credentials_are_the_service_account(vertex: RunningVertex) -> None:
    credentials, project = google.auth.default(
        scopes=["https://www.googleapis.com/auth/cloud-platform"]
    )
    credentials.refresh(google.auth.transport.requests.Request())  # type: ignore[no-untyped-call]
    assert project == "demo-project"
    assert str(credentials.token).startswith(vertex.control.get_secret())
    client = vertex.make_client()
    list(client.tunings.list())
    vertex.control.expire_tokens()
    with pytest.raises(errors.ClientError) as error:
        client.tunings.list()
    assert error.value.code == 401
    assert error.value.details["error"]["details"][0]["reason"] == "ACCESS_TOKEN_EXPIRED"


@pytest.mark.parametrize(
    ("login", "words"), [("revoked", "revoked"), ("no key", "Signature"), ("clock", "iat and exp")]
)
def test_logins_that_are_refused(vertex: RunningVertex, login: str, words: str) -> None:
    vertex.control.change(login=login)
    with pytest.raises(RefreshError, match=f"invalid_grant: .*{words}"):
        list_jobs(vertex)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"is_enabled": False}, "SERVICE_DISABLED"),
        ({"has_billing": False}, "BILLING_DISABLED"),
        ({"denied": ("aiplatform.tuningJobs.list",)}, "IAM_PERMISSION_DENIED"),
        ({"project": "another", "project_number": "2"}, "CONSUMER_INVALID"),
    ],
)
def test_projects_that_may_not(vertex: RunningVertex, changes: dict[str, Any], reason: str) -> None:
    vertex.control.change(**changes)
    client = vertex.make_client()
    with pytest.raises(errors.ClientError) as error:
        client.tunings.list()
    assert error.value.code == 403
    assert error.value.details["error"]["details"][0]["reason"] == reason


def test_a_large_file_is_uploaded_in_parts(vertex: RunningVertex) -> None:
    data = b"x" * (9 * 2**20)
    upload(data)
    (file,) = vertex.control.list_files()
    assert file["bytes"] == len(data)
    parts = {request.call for request in vertex.control.list_requests()}
    assert {"upload", "upload_part"} <= parts
    with pytest.raises(storage_errors.PreconditionFailed):
        upload(b"other")


_EUROPE = Bucket(location="EU", location_type="multi-region", permissions=("storage.buckets.get",))


@with_scenario(buckets={BUCKET: _EUROPE, "other": Bucket(permissions=())})
def test_buckets_have_locations_and_permissions(vertex: RunningVertex) -> None:
    client = storage.Client(project="demo-project")
    bucket = client.get_bucket(BUCKET)
    assert (bucket.location, bucket.location_type) == ("EU", "multi-region")
    assert str(bucket.project_number) == PROJECT_NUMBER
    asked = ["storage.objects.create", "storage.buckets.get"]
    assert bucket.test_iam_permissions(asked) == ["storage.buckets.get"]
    with pytest.raises(storage_errors.Forbidden, match=r"storage\.objects\.create"):
        upload(b"x")
    with pytest.raises(storage_errors.Forbidden):
        client.get_bucket("other")
    with pytest.raises(storage_errors.NotFound):
        client.get_bucket("nowhere")


# Faults


@pytest.mark.parametrize(
    ("action", "jobs"),
    [("drop_request", 0), ("drop_reply", 1), ("truncate", 1), ("reply", 0), ("reply_after", 1)],
)
def test_faults_strike_before_or_after_a_job_is_created(
    vertex: RunningVertex, action: Any, jobs: int
) -> None:
    uri = upload(make_rows())
    vertex.control.add_fault(Fault(on="create_job", action=action))
    with pytest.raises((httpx2.TransportError, errors.ServerError)):
        create(vertex.make_client(), uri)
    assert len(vertex.control.list_jobs()) == jobs
    (request,) = vertex.control.list_requests("create_job")
    assert request.fault == action


@pytest.mark.parametrize("action", ["drop_request", "drop_reply", "reply", "reply_after"])
def test_an_upload_is_lost_and_repeated(
    vertex: RunningVertex, action: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    vertex.control.add_fault(Fault(on="upload", action=action))
    uri = f"gs://{BUCKET}/train.jsonl"
    try:
        assert upload(make_rows(), retry=storage.retry.DEFAULT_RETRY.with_delay(0.01)) == uri
    except storage_errors.PreconditionFailed:  # the first one was stored
        assert action in ("drop_reply", "reply_after")
    assert [file["id"] for file in vertex.control.list_files()] == [uri]
    assert len(vertex.control.list_requests("upload")) == 2


def test_too_many_requests_with_a_time_to_wait(vertex: RunningVertex) -> None:
    vertex.control.add_fault(limit_rate("list_jobs", retry_after="7"))
    client = vertex.make_client()
    with pytest.raises(errors.ClientError) as error:
        client.tunings.list()
    assert error.value.code == 429 and error.value.status == "RESOURCE_EXHAUSTED"
    assert error.value.response.headers["Retry-After"] == "7"
    vertex.control.add_fault(limit_rate("list_jobs"))
    client = vertex.make_client(attempts=2)
    assert list(client.tunings.list()) == []


@pytest.mark.parametrize(("action", "jobs"), [("hold", 0), ("hold_reply", 1)])
def test_a_request_is_held_back(vertex: RunningVertex, action: Any, jobs: int) -> None:
    uri = upload(make_rows())
    vertex.control.add_fault(Fault(on="create_job", action=action))
    created: list[types.TuningJob] = []
    thread = threading.Thread(target=lambda: created.append(create(vertex.make_client(), uri)))
    thread.start()
    vertex.control.wait_for_held()
    assert len(vertex.control.list_jobs()) == jobs
    vertex.control.release()
    thread.join()
    assert [job.name for job in created] == [vertex.control.list_jobs()[0]["id"]]


def test_many_ask_at_the_same_moment(vertex: RunningVertex) -> None:
    us = vertex.make_client("us")
    ask(us, FLASH, "Hello")
    start = threading.Barrier(24)

    def ask_with_others(number: int) -> str | None:
        start.wait()
        return ask(us, FLASH, f"Question {number}")

    with ThreadPoolExecutor(24) as pool:
        assert set(pool.map(ask_with_others, range(24))) == {"I am not sure."}


def test_it_runs_as_a_process_for_another(tmp_path: Path) -> None:
    script = (
        "from google import genai; import os; from google.genai import types; import google.auth\n"
        "credentials, project = google.auth.default(scopes=['https://www.googleapis.com/auth/cloud-platform'])\n"
        "client = genai.Client(vertexai=True, project=project, credentials=credentials,\n"
        "    location=os.environ['GOOGLE_CLOUD_LOCATION'])\n"
        "print(len(list(client.tunings.list())))\n"
    )
    with serve_process(Scenario(max_running=2)) as service:
        environment = {"PATH": "/usr/bin", "HOME": str(tmp_path), **service.environment}
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == "0\n", done.stderr
        assert [request.call for request in service.control.list_requests()] == [
            "token",
            "list_jobs",
        ]


# Among the doubles of all platforms


def test_it_is_driven_as_the_other_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_double("vertex") as double:
        assert isinstance(double, VertexDouble)
        for name, value in double.environment.items():
            monkeypatch.setenv(name, value)
        client = double.service.make_client()
        double.disturb("look up", "error", skip=1)
        double.answer("list jobs", 403, "iam_permission_denied", "Too bad")
        with pytest.raises(errors.ClientError, match="Too bad") as error:
            client.tunings.list()
        assert error.value.details["error"]["details"][0]["reason"] == "IAM_PERMISSION_DENIED"
        double.take_longer()
        job = create(client)
        look(client, job)
        with pytest.raises(errors.ServerError):
            look(client, job)
        for _ in range(4):
            job = look(client, job)
        assert double.list_jobs()[0]["status"] == "running"
        double.go_on()
        assert finish(client, job)[0].has_succeeded
        double.calm()
        create(client, f"gs://{BUCKET}/train.jsonl")
        double.cancel()
        assert [look(client, each).has_ended for each in client.tunings.list()] == [True, True]
        assert [each["status"] for each in double.list_jobs()] == ["succeeded", "cancelled"]
        assert [file["id"] for file in double.list_files()] == [f"gs://{BUCKET}/train.jsonl"]
        assert all(each["id"].startswith("projects/") for each in double.list_jobs())
