"""How jobs advance: validation, a wait for capacity, training, the end; and what they write.

A job has positions, one for each look: while its files are validated, while it waits, while it is
trained. After the last, it has ended.
"""

from __future__ import annotations

import csv
import io
import math
import random
import time
from typing import Any

from tests.doubles.aws import functions, rows, storage
from tests.doubles.aws.state import AwsState, BedrockJob, CustomModel

MAX_STEPS = 60
LINES_PER_STEP = 2
"""Metrics files have several lines for a step."""


def choose_settings(job: BedrockJob) -> dict[str, Any]:
    """Return the hyperparameters, with the service's own where none are asked for."""
    if job.is_reinforced:
        settings = job.request["customizationConfig"]["rftConfig"].get("hyperParameters") or {}
        return {"epochCount": 1, "batchSize": 32, **settings}
    own: dict[str, Any] = {"epochCount": "5", "batchSize": "1", "learningRate": "0.0001"}
    if job.base.is_nova:
        own = {"epochCount": "2", "learningRate": "0.00001", "learningRateWarmupSteps": "10"}
    return {**own, **job.request.get("hyperParameters", {})}


def pass_time(state: AwsState) -> None:
    """Advance all jobs by the time that has passed, where the scenario's clock is time."""
    if state.scenario.clock != "time":
        return
    for job in state.jobs.values():
        count = int((time.monotonic() - job.advanced) / state.scenario.state_s)
        job.advanced += count * state.scenario.state_s
        for _ in range(min(count, 1000)):
            advance(state, job)


def advance(state: AwsState, job: BedrockJob) -> None:
    """Move a job on by a look."""
    if job.has_ended or (job.is_held and job.status == "InProgress"):
        return
    scenario, now = state.scenario, state.now()
    if job.status == "Stopping":
        job.stopping += 1
        if job.stopping > scenario.stopping_looks:
            _close_phases(job, "Stopped", now)
            job.end("Stopped", now)
        return
    job.position += 1
    trained = scenario.validating_looks + scenario.queued_looks
    if job.position <= scenario.validating_looks:
        job.set_phase("validationDetails", "InProgress", now)
        job.set_phase("trainingDetails", "NotStarted", now)
        return
    if job.phases.get("validationDetails", ("",))[0] != "Completed" and not _validate(state, job):
        return
    if job.position <= trained:
        return
    if job.phases["trainingDetails"][0] == "NotStarted":
        job.set_phase("trainingDetails", "InProgress", now)
        job.modified = now
        if job.is_reinforced and not _grade(state, job):
            return
    if scenario.failure and scenario.failure.at == "training":
        if job.position > trained + 1:
            fail(state, job, scenario.failure.message)
    elif job.position > trained + scenario.running_looks:
        _complete(state, job)


def fail(state: AwsState, job: BedrockJob, message: str) -> None:
    """Let a job fail now."""
    now = state.now()
    _close_phases(job, "Failed", now)
    job.end("Failed", now, message)


def _close_phases(job: BedrockJob, status: str, now: Any) -> None:
    for name, (before, _) in list(job.phases.items()):
        if before == "InProgress":
            job.set_phase(name, status, now)


def _validate(state: AwsState, job: BedrockJob) -> bool:
    """Validate the files of a job; return whether it goes on."""
    now, scenario = state.now(), state.scenario
    job.set_phase("validationDetails", "InProgress", now)
    job.set_phase("trainingDetails", "NotStarted", now)
    if scenario.failure and scenario.failure.at == "validation":
        fail(state, job, scenario.failure.message)
        return False
    uris = [job.request["trainingDataConfig"]["s3Uri"]]
    validators = (job.request.get("validationDataConfig") or {}).get("validators") or []
    uris += [each["s3Uri"] for each in validators]
    files: list[list[dict[str, Any]]] = []
    try:
        if scenario.file_error:
            raise rows.FileRejected(scenario.file_error)
        for uri in uris:
            name = uri.rpartition("/")[2]
            data = storage.read_object(uri)
            if data is None:
                bucket, key = storage.split_uri(uri)
                raise rows.FileRejected(
                    "Could not validate GetObject permissions to access Amazon S3 bucket: "
                    f"{bucket} at key {key}"
                )
            files.append(rows.read_lines(data, name))
            rows.check_rows(job, files[-1], name)
        job.rows, job.validation_rows = files[0], [row for file in files[1:] for row in file]
        rows.check_counts(job, len(job.rows), len(job.validation_rows))
    except rows.FileRejected as error:
        fail(state, job, str(error))
        return False
    job.set_phase("validationDetails", "Completed", now)
    job.modified = now
    _write_manifest(state, job, uris, [len(file) for file in files])
    return True


def _grade(state: AwsState, job: BedrockJob) -> bool:
    """Ask the grader about the right and a wrong answer; return whether the job goes on."""
    settings = job.request["customizationConfig"]["rftConfig"]
    arn = settings["graderConfig"]["lambdaGrader"]["lambdaArn"]
    rewards = []
    for is_right in (False, True):
        event = [_make_sample(row, number, is_right) for number, row in enumerate(job.rows[:8])]
        outcome = functions.run(state, arn, event)
        problem = outcome.error or _find_grading_problem(outcome.value, event)
        if problem:
            fail(state, job, f"The grader Lambda function did not return rewards: {problem}")
            return False
        scores = [float(each["aggregate_reward_score"]) for each in outcome.value]
        rewards.append(sum(scores) / len(scores))
    job.rewards = (rewards[0], rewards[1])
    return True


def _make_sample(row: dict[str, Any], number: int, is_right: bool) -> dict[str, Any]:
    """Return a sampled answer as the service hands it to a grader."""
    expected = rows.get_expected(row)
    text = rows.get_text(expected[1]) if expected and is_right else "I am not sure."
    more = {name: value for name, value in row.items() if name != "messages"}
    messages = [*row["messages"], {"role": "assistant", "content": text}]
    return {"id": str(number), "messages": messages, "metadata": more}


def _find_grading_problem(value: Any, event: list[dict[str, Any]]) -> str:
    if not isinstance(value, list) or len(value) != len(event):
        return "the answer must be a list with an entry for each sample"
    for entry, sample in zip(value, event, strict=True):
        if not isinstance(entry, dict) or entry.get("id") != sample["id"]:
            return "an entry must have the id of its sample"
        score = entry.get("aggregate_reward_score")
        if isinstance(score, bool) or not isinstance(score, int | float):
            return "aggregate_reward_score must be a number"
        if not math.isfinite(score):
            return "aggregate_reward_score must be a number"
    return ""


def _complete(state: AwsState, job: BedrockJob) -> None:
    """End a job well: its metrics are in the bucket, and its model exists."""
    now = state.now()
    steps = count_steps(state, job)
    job.losses = _compute_losses(state, job, steps - 1, steps)
    if state.scenario.writes_metrics:
        if job.is_reinforced:
            _write_rewards(state, job, steps)
        else:
            _write_losses(state, job, steps)
    model = CustomModel(job.request["customModelName"], state.make_id(), job, now)
    state.models[model.name] = model
    state.tags[model.arn] = job.request.get("customModelTags", [])
    job.set_phase("trainingDetails", "Completed", now)
    job.end("Completed", now)


def count_steps(state: AwsState, job: BedrockJob) -> int:
    if state.scenario.steps:
        return state.scenario.steps
    epochs, size = int(job.settings["epochCount"]), int(job.settings.get("batchSize", 1))
    return max(1, min(MAX_STEPS, math.ceil(len(job.rows) / size) * epochs))


def _compute_losses(state: AwsState, job: BedrockJob, step: int, steps: int) -> tuple[float, float]:
    """Return training and validation loss of a step, from 0; the same ones for the same job."""
    share = (step + 1) / steps
    noise = random.Random(f"{job.name} {step}").uniform(-0.03, 0.03)
    train = 0.4 + 1.8 * math.exp(-4 * share)
    valid = train + 0.08
    if state.scenario.curve == "overfits":
        train, valid = 0.02 + 2.0 * math.exp(-6 * share), 1.1 + 2.4 * (share - 0.35) ** 2
    elif state.scenario.curve == "flat":
        train = valid = 2.2
    elif state.scenario.curve == "diverges":
        train = valid = 0.8 + 9.0 * share**2
    return round(max(0.001, train + noise), 4), round(max(0.001, valid + noise / 3), 4)


def _write_losses(state: AwsState, job: BedrockJob, steps: int) -> None:
    names = ["step_number", "epoch_number", "training_loss", "perplexity"]
    epochs = int(job.settings["epochCount"])
    train, valid = [], []
    for step in range(steps):
        losses = _compute_losses(state, job, step, steps)
        epoch = step * epochs // steps
        for number in range(LINES_PER_STEP):
            loss = losses[0] + (0.01 if number else -0.01)
            train.append([step, epoch, round(loss, 4), round(math.exp(loss), 4)])
        is_epoch_end = (step + 1) * epochs // steps > epoch
        if is_epoch_end:
            valid.append([step, epoch, losses[1], round(math.exp(losses[1]), 4)])
    _write(state, job, "training_artifacts/step_wise_training_metrics.csv", names, train)
    if job.validation_rows:
        names[2] = "validation_loss"
        folder = "validation_artifacts/post_fine_tuning_validation"
        folder += "/validation" if state.scenario.nested_validation else ""
        _write(state, job, f"{folder}/validation_metrics.csv", names, valid)


def _write_rewards(state: AwsState, job: BedrockJob, steps: int) -> None:
    names = ["step_number", "epoch_number", "critic/rewards/mean", "actor/entropy", "actor/pg_loss"]
    low, high = job.rewards
    lines = []
    for step in range(steps):
        share = (step + 1) / steps
        mean = low + (high - low) * (1 - math.exp(-3 * share))
        lines.append([step, 0, round(mean, 4), round(1.2 - share, 4), round(0.01 * share, 4)])
    _write(state, job, "training_artifacts/step_wise_training_metrics.csv", names, lines)


def _write_manifest(state: AwsState, job: BedrockJob, uris: list[str], counts: list[int]) -> None:
    names = [
        "fileName", "totalProcessedRecordCount", "acceptedRecordCount",
        "partiallyAcceptedRecordCount", "rejectedRecordCount",
    ]  # fmt: skip
    lines = [[uri, count, count, 0, 0] for uri, count in zip(uris, counts, strict=True)]
    _write(state, job, "input_status/training/manifest.report.csv", names, lines)
    uri = f"{_get_folder(job)}.write_access_check_file.temp"
    storage.write_object(uri, b"")
    state.written.add(uri)


def _get_folder(job: BedrockJob) -> str:
    output = job.request["outputDataConfig"]["s3Uri"].rstrip("/")
    return f"{output}/model-customization-job-{job.id}/"


def _write(
    state: AwsState, job: BedrockJob, name: str, names: list[str], lines: list[list[Any]]
) -> None:
    """Write a table to the job's folder in the bucket."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([names, *lines])
    uri = _get_folder(job) + name
    storage.write_object(uri, text.getvalue().encode())
    state.written.add(uri)
