"""The documents of a run's outcome: ``result.json`` and ``trained.json``."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from ftwizard.jobs.folder import JobFolder, JobResult, read_json
from ftwizard.runs import remote
from ftwizard.runs.checkpoints import MARKER
from ftwizard.runs.prediction import PredictionResult, RunFigures
from ftwizard.runs.remote import RemoteResult

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""A count or size in bytes; files are untrusted, and others could not be formatted."""


Dtype = Literal["bfloat16", "float16", "float32"]
"""Type of a merged model's weights."""


class TrainResult(msgspec.Struct, frozen=True, kw_only=True):
    """``trained.json``, written once the training has ended and its adapter, if any, is in place."""

    method: str
    """``lora``, ``qlora`` or ``full``."""
    reason: str
    """``finished``, ``early_stopped`` or ``stopped``."""
    message: str
    targets: list[str]
    """Modules and parameters with an adapter; empty for a full fine-tune."""
    step: Count
    """Step of the resulting weights: the best evaluation, else the last step."""
    eval_loss: float | None
    eval_reward: float | None = None
    """Mean reward on the validation prompts, of reinforcement."""
    last_step: Count
    total_steps: Count
    base: str
    """Folder of the base model."""
    base_name: str
    """Name of the base model for a person: a Hub id or a folder."""
    end_ids: list[int]
    """Tokens that end an answer."""
    rows: dict[str, Count]
    """Rows read and used, by part: ``train_given``, ``train_used``, …; ``train_available`` where
    ``data.max_rows`` drew fewer."""
    left_out: dict[str, list[int]] = {}
    """Lines of unused rows by part, the first thousand."""
    unreadable: dict[str, Count] = {}
    """Rows of each file that could not be read and were skipped, as the plan allows."""
    tokens: Count
    """Tokens trained on, over all attempts."""
    trainable_text: list[str]
    """Template text that counts toward the loss."""
    hashes: dict[str, str] = {}
    """Name → XXH3-128 of the files in ``adapter/``; empty without an adapter."""

    @property
    def completed_share(self) -> float:
        """Return the share of the planned steps that were completed, 0–1."""
        return min(1.0, self.last_step / max(1, self.total_steps))


class MergedModel(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename={"size_bytes": "bytes"}
):
    """A merged model; also its marker, ``ftwizard.json``, which is written last."""

    folder: str
    size_bytes: Count
    dtype: str
    method: Literal["streamed", "peft"] = "peft"
    """``peft`` for adapters that only peft can merge."""
    reason: str = ""
    """Why peft merged it."""
    rounding: Literal["exact", "peft"] = "exact"
    onto: Literal["16-bit", "dequantized"] = "16-bit"
    """Weights that the adapter was added to: the base as published, or as QLoRA saw it in 4 bit."""
    scale: float = 1.0
    """Strength of the adapter: factor of its change."""
    base: str = ""
    """Folder of the base model."""
    adapter: str = ""
    """Folder of the adapter; empty for a full fine-tune."""
    hashes: dict[str, str] = {}
    """Name → XXH3-128 of each file but the marker."""


class RunResult(JobResult, frozen=True, kw_only=True, omit_defaults=True):
    """``result.json`` of a run."""

    training: TrainResult | None = None
    """None for a hosted run whose weights are at the platform."""
    remote: RemoteResult | None = None
    """None for a run of this machine."""
    merged: MergedModel | None = None
    """None if the plan does not ask for it, or if training was stopped."""
    seconds: float
    """Of the newest attempt, with merging and evaluating."""
    predicted: RunFigures
    actual: RunFigures
    error: dict[str, float | None]

    @property
    def prediction(self) -> PredictionResult | None:
        """Return the outcome of the prediction; None if its numbers are not valid."""
        outcome = PredictionResult(predicted=self.predicted, actual=self.actual, error=self.error)
        return outcome if outcome.is_sound else None


def read_result(folder: JobFolder) -> RunResult | None:
    """Read ``result.json`` of the newest attempt; None if it is missing or unreadable."""
    result = read_json(folder.result, RunResult)
    if result is None or not (result.training or result.remote):
        return None
    return result if result.attempt == folder.newest_attempt() else None


def read_merged(folder: JobFolder) -> MergedModel | None:
    """Return what is recorded of a run's merged model; None without one."""
    if not folder.merged.is_dir():
        return None
    result = read_result(folder)
    return read_json(folder.merged / MARKER, MergedModel) or (result.merged if result else None)


def read_trained(folder: JobFolder) -> TrainResult | None:
    """Read ``trained.json``; None if training has not ended, or if it is unreadable.

    The worker builds an unreadable one again from the checkpoints.
    """
    return read_json(folder.trained, TrainResult)


def has_results(folder: JobFolder) -> bool:
    """Return whether a run, however it ended, has a trained model or an evaluation."""
    if folder.trained.exists() or folder.evaluation.exists():
        return True
    record = remote.read(folder)
    return record is not None and record.tuned_model is not None
