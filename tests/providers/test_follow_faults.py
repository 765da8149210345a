"""Followers on all platforms where something goes wrong: one job, its id, and a way on."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import openai._base_client
import pytest
import requests as requests_sdk
import together._base_client
from botocore.httpsession import URLLib3Session

from ftwizard import hosted_platforms
from ftwizard.hosted_platforms import HostedProvider
from ftwizard.jobs import requests
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.worker import EarlyEnd, Stopped
from ftwizard.plan import plan_file
from ftwizard.plan.schema import Budget
from ftwizard.providers import launcher
from ftwizard.providers.base import ProviderError
from ftwizard.runs import remote
from ftwizard.runs.remote import RemoteJob
from ftwizard.runs.summary import read_progress
from tests.doubles.aws import SETTINGS as AWS_SETTINGS
from tests.helpers.followed_jobs import (
    add_attempt,
    create_run,
    make_settings,
    quick_aws,
    quick_vertex,
    run_follower,
)
from tests.helpers.hosted import dollars
from tests.helpers.hosted_doubles import (
    PLATFORMS,
    AwsDouble,
    HostedDouble,
    OpenAIDouble,
    TogetherDouble,
    Trouble,
    VertexDouble,
    serve_double,
)
from tests.helpers.jobs import events

pytestmark = pytest.mark.timeout(60)
TROUBLES: tuple[Trouble, ...] = (
    "drop_request", "drop_reply", "error", "error_after", "rate_limit",
)  # fmt: skip
SINGLE_TROUBLES: tuple[Trouble, ...] = ("drop_request", "drop_reply", "error_after")
"""For each call alone: the others are errors after which an SDK repeats the request as well."""
CALLS = {
    "openai": OpenAIDouble.calls, "foundry": OpenAIDouble.calls, "together": TogetherDouble.calls,
    "bedrock": AwsDouble.calls, "vertex": VertexDouble.calls,
    "mantle": tuple(call for call in OpenAIDouble.calls if call != "results"),
}  # fmt: skip

THREE_EPOCHS: dict[str, dict[str, Any]] = {
    "openai": {"n_epochs": 3, "batch_size": 4},
    "foundry": {"n_epochs": 3, "batch_size": 4},
    "mantle": {"n_epochs": 3, "batch_size": 4},
    "together": {},
    "bedrock": {"epochCount": 3},
    "vertex": {"epoch_count": 3},
}
SLOW: dict[str, dict[str, Any]] = {
    "openai": {"pace": {"clock": "polls", "steps": 1}},
    "foundry": {"pace": {"clock": "polls", "steps": 1}},
    "mantle": {"pace": {"clock": "polls", "steps": 1}},
    "together": {"running_states": 20},
    "bedrock": {"running_looks": 20},
    "vertex": {"pace": {"clock": "polls", "epochs": 1}},
}
"""Changes of a double whose jobs then take more looks than the budget allows."""
OWN_SETTINGS: dict[str, dict[str, Any]] = {
    "openai": {"n_epochs": 2, "batch_size": 4, "suffix": "mine", "seed": 7},
    "foundry": {"n_epochs": 2, "batch_size": 4, "suffix": "mine", "seed": 7},
    "mantle": {"n_epochs": 2, "batch_size": 10, "learning_rate_multiplier": 0.5},
    "together": {"n_epochs": 2, "learning_rate": 2e-5, "lora_r": 8, "random_seed": 7},
    "bedrock": {**AWS_SETTINGS, "epochCount": 3, "learningRate": 2e-5},
    "vertex": {"epoch_count": 2, "adapter_size": 8, "location": "us-central1"},
}
"""Settings that are read from a job that was created elsewhere."""
UNKNOWN_JOBS = {"vertex": "123"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing wait: the platform answers at once."""
    monkeypatch.setenv("FTWIZARD_POLL_S", "0.01")
    monkeypatch.setattr("ftwizard.providers.submit.LOOK_PAUSES_S", (0.0, 0.01, 0.01))
    monkeypatch.setattr("ftwizard.providers.submit.LATE_PAUSES_S", ())
    monkeypatch.setattr("ftwizard.providers.session.FIRST_RETRY_S", 0.01)
    monkeypatch.setattr("ftwizard.providers.session.LOOK_S", 0.01)
    monkeypatch.setattr("ftwizard.providers.together.client.FIRST_WAIT_S", 0.001)
    quick_aws(monkeypatch)
    quick_vertex(monkeypatch)
    for sdk in (openai._base_client, together._base_client):
        for name in ("INITIAL_RETRY_DELAY", "MAX_RETRY_DELAY"):
            monkeypatch.setattr(sdk, name, 0.001)


@pytest.fixture(params=PLATFORMS)
def double(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HostedDouble]:
    provider: HostedProvider = request.param
    with serve_double(provider) as service:
        for name, value in service.environment.items():
            monkeypatch.setenv(name, value)
        yield service


def require_one_job(double: HostedDouble, folder: JobFolder, end: object) -> RemoteJob:
    """Assert that the job succeeded, is the only one, and that nothing was written twice."""
    assert isinstance(end, RemoteJob), (end, getattr(end, "hint", ""))
    assert end.state == "succeeded" and end.tuned_model
    (job,) = double.list_jobs()
    assert job["id"] == end.job_id
    for kind in ("remote", "log", "eval"):
        ids = [event["id"] for event in events(folder, kind)]
        assert len(ids) == len(set(ids))
    steps = [event["step"] for event in events(folder, "log")]
    assert bool(steps) == double.writes_losses and steps == sorted(set(steps))
    return end


@pytest.mark.parametrize("trouble", TROUBLES)
def test_each_call_fails_and_there_is_one_job(
    double: HostedDouble, tmp_path: Path, trouble: Trouble
) -> None:
    folder = create_run(tmp_path, double.provider)
    for call in double.calls:
        double.disturb(call, trouble)
    record = require_one_job(double, folder, run_follower(folder))
    assert len(double.list_files()) == len(record.files)
    assert bool(record.checkpoints) == double.keeps_checkpoints


@pytest.mark.slow
@pytest.mark.parametrize(
    ("provider", "call", "trouble"),
    [
        (provider, call, trouble)
        for provider in PLATFORMS
        for call, trouble in itertools.product(CALLS[provider], SINGLE_TROUBLES)
    ],
)
def test_a_call_that_fails_makes_no_second_job(
    provider: HostedProvider, call: str, trouble: Trouble, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with serve_double(provider) as double:
        for name, value in double.environment.items():
            monkeypatch.setenv(name, value)
        folder = create_run(tmp_path, provider)
        if call == "list jobs":  # only where the reply to the creation was lost
            double.disturb("create", "drop_reply")
        double.disturb(call, trouble)
        require_one_job(double, folder, run_follower(folder))
        assert len(double.list_files()) == len(remote.read(folder).files)  # type: ignore[union-attr]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_creation_that_fails_again_makes_no_second_job(
    double: HostedDouble, tmp_path: Path, trouble: Trouble
) -> None:
    folder = create_run(tmp_path, double.provider)
    double.disturb("create", trouble, times=3)
    require_one_job(double, folder, run_follower(folder))


@pytest.mark.parametrize("trouble", TROUBLES)
def test_an_upload_that_fails_again_is_repeated(
    double: HostedDouble, tmp_path: Path, trouble: Trouble
) -> None:
    folder = create_run(tmp_path, double.provider)
    double.disturb("upload", trouble, times=3)
    require_one_job(double, folder, run_follower(folder))
    assert len(double.list_files()) == len(remote.read(folder).files)  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("is_sent", [False, True])
@pytest.mark.parametrize("double", ["bedrock", "vertex"], indirect=True)
def test_a_follower_that_dies_in_each_of_its_calls_makes_one_job(
    double: HostedDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_sent: bool
) -> None:
    """The next follower dies in the next call that none has died in, before or after it took effect."""
    killed: list[str] = []

    def die_once(session: type, path: Callable[[Any], str]) -> None:
        send = session.send  # type: ignore[attr-defined]

        def send_and_die(self: Any, request: Any, *arguments: Any, **options: Any) -> Any:
            call = f"{request.method} {path(request)}"
            if call in killed or request.method == "PUT":  # boto3's upload would wait for its end
                return send(self, request, *arguments, **options)
            killed.append(call)
            if is_sent:
                send(self, request, *arguments, **options)
            raise KeyboardInterrupt

        monkeypatch.setattr(session, "send", send_and_die)

    folder = create_run(tmp_path, double.provider)
    die_once(URLLib3Session, name_request)
    die_once(requests_sdk.Session, name_request)
    die_once(httpx.Client, lambda request: request.url.path)
    end: object = None
    while end is None:
        with contextlib.suppress(KeyboardInterrupt):
            end = run_follower(folder)
        add_attempt(folder)
    require_one_job(double, folder, end)
    assert len(killed) >= {"bedrock": 7, "vertex": 5}[double.provider], killed


def name_request(request: Any) -> str:
    """Return path and action of a request: some services of AWS have one path for all."""
    path = urlsplit(request.url).path
    return f"{path} {request.body!r}" if path == "/" else path


def test_a_long_outage_is_not_a_stall(
    double: HostedDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = create_run(tmp_path, double.provider)
    monkeypatch.setattr("ftwizard.providers.session.ALIVE_S", 0.0)
    double.disturb("look up", "error", times=12)  # more than an SDK tries by itself
    require_one_job(double, folder, run_follower(folder))
    assert events(folder, "waiting")


def test_a_key_that_is_revoked_leaves_the_job_to_resume(
    double: HostedDouble, tmp_path: Path
) -> None:
    folder = create_run(tmp_path, double.provider)
    double.take_longer()
    double.answer("look up", 401, "invalid_api_key", "Incorrect API key provided.")
    end = run_follower(folder)
    assert isinstance(end, EarlyEnd) and end.end_reason == "refused"
    assert double.key not in end.message + end.hint
    record = remote.read(folder)
    assert record and record.job_id and record.job_id == double.list_jobs()[0]["id"]
    assert f". The job {record.job_id} keeps running." in end.hint
    assert hosted_platforms.PLATFORMS[double.provider].login in end.hint
    assert "ftwizard resume" in end.hint
    double.calm()
    double.go_on()
    add_attempt(folder)
    require_one_job(double, folder, run_follower(folder))


def test_a_job_that_is_gone_ends_the_follower_with_its_id(
    double: HostedDouble, tmp_path: Path
) -> None:
    folder = create_run(tmp_path, double.provider)
    double.answer("look up", 404, "not_found", "No such job.")
    end = run_follower(folder)
    assert isinstance(end, EarlyEnd) and end.end_reason == "refused"
    record = remote.read(folder)
    assert record and record.job_id and record.job_id == double.list_jobs()[0]["id"]
    assert record.job_id in end.hint


def test_a_job_canceled_elsewhere_ends_as_canceled(double: HostedDouble, tmp_path: Path) -> None:
    folder = create_run(tmp_path, double.provider)
    double.take_longer()
    double.disturb("events", "hold", skip=3)

    def cancel() -> None:
        double.wait_for_held()
        double.cancel()
        double.release()

    canceler = threading.Thread(target=cancel)
    canceler.start()
    end = run_follower(folder)
    canceler.join()
    assert isinstance(end, EarlyEnd) and end.end_reason == "cancelled", end
    assert "canceled at" in end.message


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_cancellation_that_fails_is_repeated(
    double: HostedDouble, tmp_path: Path, trouble: Trouble
) -> None:
    folder = create_run(tmp_path, double.provider)
    double.take_longer()
    requests.send(folder, "cancel", 1)
    double.disturb("cancel", trouble, times=3)
    end = run_follower(folder)
    assert isinstance(end, EarlyEnd) and end.end_reason == "cancelled", end
    assert all(job["status"] == "cancelled" for job in double.list_jobs())


@pytest.mark.parametrize("call", ["events", "checkpoints", "results"])
@pytest.mark.parametrize("status", [404, 500, 501, 403])
@pytest.mark.parametrize("double", ["openai", "together"], indirect=True)
def test_what_a_service_never_answers_does_not_keep_a_job_from_its_end(
    double: HostedDouble, tmp_path: Path, call: str, status: int
) -> None:
    call = call if call in double.calls else "metrics"
    folder = create_run(tmp_path, double.provider)
    double.answer(call, status, "none", "There is nothing here.")
    record = run_follower(folder)
    assert isinstance(record, RemoteJob) and record.state == "succeeded" and record.tuned_model
    codes = [event["code"] for event in events(folder, "finding")]
    if double.provider == "together":  # its metrics are separate
        assert ("events_unavailable" in codes) == (call in ("events", "metrics") and status != 404)
        assert bool(events(folder, "log")) == (
            call == "checkpoints" or (status == 404 and call == "events")
        )
    else:
        assert ("events_unavailable" in codes) == (call == "events")


@pytest.mark.parametrize(
    "double", ["openai", "foundry", "together", "mantle"], indirect=True
)  # elsewhere, jobs check the rows
def test_a_file_that_the_service_refuses_ends_the_run_without_a_job(
    double: HostedDouble, tmp_path: Path
) -> None:
    name = "validation_error" if double.provider == "together" else "file_error"
    double.change(**{name: "Line 3 is not a dictionary."})
    folder = create_run(tmp_path, double.provider)
    end = run_follower(folder)
    assert isinstance(end, EarlyEnd) and end.end_reason == "refused"
    assert "Line 3 is not a dictionary" in end.message and "ftwizard check" in end.hint
    assert double.list_jobs() == []


@pytest.mark.parametrize(
    "double", ["openai", "foundry", "together", "mantle", "vertex"], indirect=True
)  # Bedrock says nothing of its steps while it trains
def test_a_job_that_costs_more_than_the_budget_is_canceled(
    double: HostedDouble, tmp_path: Path
) -> None:
    _, end = follow_over_budget(double, tmp_path)
    if double.provider == "together":  # its own price is known before, and lower
        assert isinstance(end, RemoteJob)
        return
    assert isinstance(end, EarlyEnd) and end.end_reason == "cancelled", end
    assert "budget.usd" in end.message
    assert double.list_jobs()[0]["status"] == "cancelled"


@pytest.mark.parametrize("double", ["bedrock"], indirect=True)
def test_a_budget_that_cannot_be_checked_is_named_once(
    double: HostedDouble, tmp_path: Path
) -> None:
    folder, end = follow_over_budget(double, tmp_path)
    require_one_job(double, folder, end)
    (finding,) = (each for each in events(folder, "finding") if each["code"] == "budget_unchecked")
    assert "its steps cannot be read" in finding["message"]
    assert "may cost up to $12.00" in finding["message"] and "--cancel" in finding["action"]


def follow_over_budget(
    double: HostedDouble, root: Path
) -> tuple[JobFolder, RemoteJob | EarlyEnd | Stopped]:
    """Follow a job whose predicted cost may be above its budget, to its end."""
    settings = make_settings(double.provider, **THREE_EPOCHS[double.provider])
    folder = create_run(root, double.provider, **{double.provider: settings})
    record, plan = remote.read(folder), plan_file.read_run(folder)
    assert record
    remote.write(folder, msgspec.structs.replace(record, predicted_cost=dollars(6.0, 4.0, 12.0)))
    plan = msgspec.structs.replace(plan, budget=Budget(usd=4.0))
    add_attempt(folder, plan)
    double.change(**SLOW[double.provider])
    return folder, run_follower(folder)


def test_a_price_that_the_account_may_not_spend_creates_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_double("together", balance_usd=0.0) as double:
        for name, value in double.environment.items():
            monkeypatch.setenv(name, value)
        end = run_follower(create_run(tmp_path, "together"))
        assert isinstance(end, EarlyEnd) and end.end_reason == "refused"
        assert "does not let" in end.message and "credit" in end.hint
        assert double.list_jobs() == []


@pytest.mark.parametrize("double", ["openai", "foundry"], indirect=True)
def test_a_job_is_paused_and_continued(double: HostedDouble, tmp_path: Path) -> None:
    folder = create_run(tmp_path, double.provider)
    double.take_longer()
    driver = threading.Thread(target=pause_and_continue, args=(double, folder))
    driver.start()
    end = run_follower(folder)
    driver.join()
    require_one_job(double, folder, end)
    phases = [event["phase"] for event in events(folder, "phase")]
    assert "training" in phases[phases.index("paused") :]


def pause_and_continue(double: HostedDouble, folder: JobFolder) -> None:
    wait_for_state(folder, "running")
    requests.send(folder, "pause", 1)
    wait_for_state(folder, "paused")
    requests.send(folder, "continue", 1)
    wait_for_state(folder, "running")
    double.go_on()


def wait_for_state(folder: JobFolder, state: str) -> None:
    end = time.monotonic() + 30
    while (record := remote.read(folder)) is None or record.state != state:
        assert time.monotonic() < end, record
        time.sleep(0.01)


def test_a_job_from_elsewhere_is_followed(
    double: HostedDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = OWN_SETTINGS[double.provider]
    own = make_settings(double.provider, **settings)
    first = create_run(tmp_path, double.provider, **{double.provider: own})
    double.take_longer()
    stopper = threading.Thread(target=lambda: stop_when_running(first))
    stopper.start()
    assert isinstance(run_follower(first), Stopped)
    stopper.join()
    double.go_on()
    (job,) = double.list_jobs()
    monkeypatch.setenv("FTWIZARD_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setattr(launcher, "_start", lambda folder, plan: add_attempt(folder, plan))
    folder = launcher.adopt(job["id"], double.provider)
    plan, original = plan_file.read_run(folder), remote.read(first)
    assert original and plan.model.name in (plan_file.read_run(first).model.name, original.model)
    assert plan.data.files.train == original.files["train"].id
    assert {name: getattr(plan.platform_settings, name) for name in settings} == settings
    assert plan_file.parse(folder.plan.read_text()) == plan
    assert launcher.adopt(job["id"], double.provider).path == folder.path
    record = require_one_job(double, folder, run_follower(folder))
    assert record.adopted
    assert len(double.list_files()) == len(original.files)
    with pytest.raises(ProviderError) as error:
        launcher.adopt(UNKNOWN_JOBS.get(double.provider, "ft-none"), double.provider)
    assert error.value.kind == "missing"


def stop_when_running(folder: JobFolder) -> None:
    wait_for_state(folder, "running")
    requests.send(folder, "stop", 1)


def test_the_events_tell_how_many_steps_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A platform that packs rows has fewer steps than epochs and batch size suggest."""
    with serve_double("together") as double:
        for name, value in double.environment.items():
            monkeypatch.setenv(name, value)
        folder = create_run(tmp_path, "together")
        require_one_job(double, folder, run_follower(folder))
    assert read_progress(folder).total_steps == 20
