"""Jobs of the service: how they advance, and what they report.

A job has positions: 0 while its files are validated, 1 queued, 2 started, 2 + n after step n. At the
end, a last position decides how it ended.
"""

from __future__ import annotations

import base64
import dataclasses
import math
import random
import time
from typing import Any

from tests.doubles.openai_service.rows import count_row_tokens
from tests.doubles.openai_service.scenario import Curve, JobFailure, Method

TERMINAL = ("succeeded", "failed", "cancelled")
MAX_CHECKPOINTS = 3
STARTED = 2
FOUNDRY_INTERVAL = 10
"""Foundry reports every so many steps, and the last; all of them are in its results file."""
NO_DATA: dict[str, Any] = {}


@dataclasses.dataclass
class Job:
    """A job, with everything that it has reported."""

    id: str
    model: str
    created_at: int
    request: dict[str, Any]
    method: Method
    training_file: str
    validation_file: str | None
    seed: int
    metadata: dict[str, str] | None
    tuned_name: str
    """Name of the model that it makes."""
    steps_per_look: int | None
    hold_at: int | None
    pause_at: int | None
    curve: Curve
    failure: JobFailure | None
    is_foundry: bool
    is_mantle: bool = False
    status: str = "validating_files"
    position: int = 0
    is_held: bool = False
    resumed_status: str = ""
    """Status to return to from a pause."""
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    validation_rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    total_steps: int = 0
    steps_per_epoch: int = 1
    events: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    """Oldest first."""
    metrics: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    checkpoints: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    error: dict[str, Any] | None = None
    finished_at: int | None = None
    fine_tuned_model: str | None = None
    trained_tokens: int | None = None
    result_files: list[str] = dataclasses.field(default_factory=list)
    advanced: float = dataclasses.field(default_factory=time.monotonic)
    """When the clock last moved it."""
    has_odd_events: bool = False
    answers: dict[str, dict[str, Any]] | None = None
    """The expected message of each prompt of its rows, once somebody asked its model."""

    @property
    def has_ended(self) -> bool:
        return self.status in TERMINAL

    @property
    def step(self) -> int:
        """The last step that was done."""
        return max(0, min(self.position - STARTED, self.total_steps))

    def add_event(
        self,
        message: str,
        now: int,
        *,
        level: str = "info",
        data: dict[str, Any] | None = NO_DATA,
        kind: str = "message",
    ) -> None:
        """Report something; Foundry sends no ``data`` with a message."""
        event: dict[str, Any] = {
            "object": "fine_tuning.job.event",
            "id": f"ftevent-{self.id[-12:]}{len(self.events):06d}",
            "created_at": now,
            "level": level,
            "message": message,
            "type": kind,
        }
        if not self.is_foundry or kind == "metrics":
            event["data"] = data
        self.events.append(event)

    def end(self, status: str, now: int, error: dict[str, Any] | None = None) -> None:
        """Bring the job to an end."""
        self.status, self.finished_at, self.error = status, now, error

    def fail(self, code: str, message: str, param: str | None, now: int) -> None:
        """Let the job fail."""
        self.end("failed", now, {"code": code, "message": message, "param": param})
        self.add_event(message, now, level="error")


def choose_settings(job: Job) -> None:
    """Choose the hyperparameters that are ``auto``, as the service does once it has read the files."""
    asked = get_hyperparameters(job.request, job.method)
    automatic = {
        "n_epochs": 3,
        "batch_size": max(1, min(256, len(job.rows) // 500)),
        "learning_rate_multiplier": 1.8,
    }
    if job.method == "dpo":
        automatic["beta"] = 0.1
    job.settings = {
        **{key: value for key, value in asked.items() if value != "auto"},
        **{key: value for key, value in automatic.items() if asked.get(key, "auto") == "auto"},
    }
    job.steps_per_epoch = max(1, math.ceil(len(job.rows) / job.settings["batch_size"]))
    job.total_steps = job.steps_per_epoch * job.settings["n_epochs"]


def get_hyperparameters(request: dict[str, Any], method: Method) -> dict[str, Any]:
    """Return what a request asks for, in its current or its older form."""
    configuration = (request.get("method") or {}).get(method) or {}
    return dict(configuration.get("hyperparameters") or request.get("hyperparameters") or {})


def _compute_losses(job: Job, step: int) -> tuple[float, float]:
    """Return training and validation loss after a step; the same ones for the same seed."""
    share = step / max(1, job.total_steps)
    noise = random.Random(f"{job.seed} {step}").uniform(-0.03, 0.03)
    train = 0.4 + 1.8 * math.exp(-4 * share)
    valid = train + 0.08
    if job.curve == "overfits":
        train, valid = 0.02 + 2.0 * math.exp(-6 * share), 1.1 + 2.4 * (share - 0.35) ** 2
    elif job.curve == "flat":
        train = valid = 2.2
    elif job.curve == "diverges":
        train = valid = 0.8 + 9.0 * share**2
    return round(max(0.001, train + noise), 4), round(max(0.001, valid + noise / 3), 4)


def report_step(job: Job, step: int, now: int) -> None:
    """Report a step, and keep a checkpoint at the end of an epoch."""
    if job.is_mantle:
        _report_open_reward(job, step, now)
        return
    if job.method == "reinforcement":
        _report_reward(job, step, now)
        return
    train, valid = _compute_losses(job, step)
    data: dict[str, Any] = {
        "step": step,
        "train_loss": train,
        "total_steps": job.total_steps,
        "train_mean_token_accuracy": _to_accuracy(train),
    }
    message = f"Step {step}/{job.total_steps}: training loss={train:.2f}"
    is_epoch_end = step % job.steps_per_epoch == 0
    if job.validation_rows and (is_epoch_end or step % max(1, job.total_steps // 10) == 0):
        data |= {"valid_loss": valid, "valid_mean_token_accuracy": _to_accuracy(valid)}
        message += f", validation loss={valid:.2f}"
    if job.validation_rows and is_epoch_end:
        full = round(valid + 0.01, 4)
        data |= {"full_valid_loss": full, "full_valid_mean_token_accuracy": _to_accuracy(full)}
        message += f", full validation loss={full:.2f}"
    job.metrics.append(data)
    if not job.is_foundry:
        job.add_event(message, now, data=data, kind="metrics")
    elif step % FOUNDRY_INTERVAL == 0 or step == job.total_steps:
        own = {key: value for key, value in data.items() if key != "total_steps"}
        job.add_event(f"Step {step}: training loss={train}", now, data=own, kind="metrics")
    if is_epoch_end:
        keep_checkpoint(job, step, now)


def _report_reward(job: Job, step: int, now: int) -> None:
    loss, _ = _compute_losses(job, step)
    train = round(max(0.0, min(1.0, 1 - loss / 2.4)), 4)
    data: dict[str, Any] = {
        "step": step,
        "usage": {"graders": [], "samples": {"train_reasoning_tokens_mean": 812.5}},
        "errors": {"graders": []},
        "scores": {"graders": [], "train_reward_mean": train},
        "timing": {"step": {"sampling": 3.1, "training": 4.4, "full_iteration": 8.0}},
        "total_steps": job.total_steps,
        "train_mean_reward": train,
        "reasoning_tokens_mean": 812.5,
        "mean_unresponsive_rewards": 0.0,
    }
    message = f"Step {step}/{job.total_steps} , train mean reward={train:.2f}"
    interval = job.settings.get("eval_interval", job.steps_per_epoch)
    is_evaluated = step % interval == 0 or step == job.total_steps
    if is_evaluated:
        valid = round(max(0.0, train - 0.03), 4)
        data["scores"]["valid_reward_mean"] = valid
        data |= {"full_valid_mean_reward": valid, "full_valid_mean_parse_error": 0.0}
        message += (
            f", full validation mean reward={valid:.2f}, full validation mean parse error=0.00"
        )
    job.metrics.append(data)
    job.add_event(message, now, data=data, kind="metrics")
    if is_evaluated:
        keep_checkpoint(job, step, now)


def _report_open_reward(job: Job, step: int, now: int) -> None:
    """Report a step of reinforcement as Bedrock does for open weights."""
    loss, _ = _compute_losses(job, step)
    data: dict[str, Any] = {
        "step": step,
        "critic_rewards_mean": round(max(0.0, min(1.0, 1 - loss / 2.4)), 4),
        "critic_advantages_mean": 0.01,
        "actor_pg_loss": round(loss / 1000, 6),
        "actor_entropy": 0.31,
        "actor_grad_norm": round(0.1 + loss / 10, 4),
        "response_length_mean": 212.5,
    }
    job.metrics.append(data)
    job.add_event(f"Step {step} completed", now, data=data, kind="metrics")
    if step % job.steps_per_epoch == 0:
        keep_checkpoint(job, step, now)


def _to_accuracy(loss: float) -> float:
    return round(math.exp(-loss / 2), 4)


def keep_checkpoint(job: Job, step: int, now: int) -> None:
    """Keep a checkpoint; of several, the last three, or by reinforcement the three best."""
    is_last = step == job.total_steps
    metrics: dict[str, Any] = next(
        (entry for entry in reversed(job.metrics) if entry["step"] == step), {}
    )
    numbers = {key: value for key, value in metrics.items() if isinstance(value, int | float)}
    job.checkpoints.append(
        {
            "object": "fine_tuning.job.checkpoint",
            "id": f"{'ftchkpt-' if job.is_foundry else 'ftckpt_'}{job.id[-12:]}{step}",
            "created_at": now,
            "fine_tuned_model_checkpoint": name_checkpoint(job, step),
            "fine_tuning_job_id": job.id,
            "metrics": {key: value for key, value in numbers.items() if key != "total_steps"},
            "step_number": step,
        }
    )
    if job.method == "reinforcement":
        job.checkpoints.sort(key=lambda c: c["metrics"].get("full_valid_mean_reward", 0))
    job.checkpoints[:-MAX_CHECKPOINTS] = []
    job.checkpoints.sort(key=lambda c: c["step_number"])
    if not is_last and not job.is_foundry:
        job.add_event(f"Checkpoint created at step {step}", now)


def name_checkpoint(job: Job, step: int) -> str:
    """Return the name of the model after a step; after the last, it is the tuned model's."""
    if step == job.total_steps:
        return job.tuned_name
    return f"{job.tuned_name}:ckpt-step-{step}"


def count_billed(job: Job) -> int:
    """Return the tokens that are billed for all epochs."""
    return sum(map(count_row_tokens, job.rows)) * int(job.settings["n_epochs"])


def write_results(job: Job) -> bytes:
    """Return the results file: a CSV, at OpenAI in base64."""
    names = ["step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy"]
    sources = {"train_accuracy": "train_mean_token_accuracy"}
    if job.method == "reinforcement":
        names = ["step", "train_mean_reward", "full_valid_mean_reward"]
    elif job.is_foundry:
        names = [
            "step",
            "train_loss",
            "train_mean_token_accuracy",
            "valid_loss",
            "valid_mean_token_accuracy",
            "full_valid_loss",
            "full_valid_mean_token_accuracy",
        ]
    lines = [",".join(names)]
    for entry in job.metrics:
        lines.append(",".join(str(entry.get(sources.get(name, name), "")) for name in names))
    data = ("\n".join(lines) + "\n").encode()
    return data if job.is_foundry else base64.b64encode(data)
