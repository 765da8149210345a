"""The documents of a run's outcome: ``result.json``, ``trained.json`` and ``eval/compare.json``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from ftwizard.jobs.folder import JobFolder, JobResult, read_json
from ftwizard.runs import answer_kind, remote, verdict
from ftwizard.runs.answer_kind import AnswerKind
from ftwizard.runs.checkpoints import MARKER
from ftwizard.runs.prediction import PredictionResult, RunFigures
from ftwizard.runs.preference_scores import PreferenceScores
from ftwizard.runs.remote import RemoteResult
from ftwizard.runs.verdict import RowScores, ScoredPair, ShipVerdict, Verdict

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
    """Name → XXH3-128 of the files in ``adapter/``; empty without an adapter, and in earlier
    versions."""

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
    """``peft`` for adapters that only peft can merge, and in earlier versions."""
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
    """Folder of the adapter; empty for a full fine-tune, and in earlier versions."""
    hashes: dict[str, str] = {}
    """Name → XXH3-128 of each file but the marker; empty in earlier versions."""


class ModelScores(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Scores of one model on the test set."""

    loss: float | None
    """Mean negative log-likelihood per answer token, in nats; None if all are truncated."""
    exact: float
    """Share of answers equal to the expected one, ignoring surrounding white space; 0–1."""
    json_valid: float | None
    """Share that is valid for the JSON schema of the expected answers; None if these are not JSON."""
    match: float | None = None
    """Share of right answers, as ``answer_kind.is_match`` compares; 0–1."""
    fields: float | None = None
    """Mean share of right JSON fields, 0–1; None if the answers are not JSON."""
    chrf: float | None = None
    """Mean chrF of the answers, 0–100; None unless they are free text."""
    length_ratio: float | None = None
    """Characters of the answers as a share of those of the expected ones; None unless free text."""
    preferred: float | None = None
    """Share of test pairs whose chosen answer is more probable than the rejected one, 0–1; None for
    rows that are not pairs."""
    ranked: float | None = None
    """How often a wanted test answer gained more probability than an unwanted one since the base model,
    0–1; None for rows without labels."""


class AnswerPair(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A test example with the answers of both models."""

    line: int
    prompt: list[dict[str, Any]]
    """Messages, as in the row."""
    expected: str
    base: str
    tuned: str
    tools: list[dict[str, Any]] | None = None
    """Tools of the row, which its prompt describes."""
    tokens: Count = 0
    """Tokens of the expected answer that count toward the loss; 0 if it was truncated."""
    base_scores: RowScores | None = None
    tuned_scores: RowScores | None = None
    """None in runs of earlier versions."""
    rejected: str = ""
    """The rejected answer of a pair, whose chosen one is ``expected``."""
    prefers_chosen: list[bool] = []
    """Whether base and tuned model find the chosen answer of the pair more probable."""
    label: bool | None = None
    """Of a labeled answer: whether it is wanted."""
    rewards: list[float | None] = []
    """Rewards of both answers, the base model's first, where rewards score them; None without a score."""

    @property
    def question(self) -> str:
        """Return the text of the prompt's last message."""
        return str(self.prompt[-1].get("content") or "") if self.prompt else ""


class SavedAnswers(msgspec.Struct, frozen=True, kw_only=True):
    """``eval/compare.json``: all answers of a comparison."""

    schema: dict[str, Any] | None
    """JSON Schema of the expected answers; None if these are not JSON."""
    answers: list[AnswerPair]


class BaseComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Comparison of base and tuned model; all but ``rows`` is unset without a test set."""

    rows: Count
    base: ModelScores | msgspec.UnsetType = msgspec.UNSET
    tuned: ModelScores | msgspec.UnsetType = msgspec.UNSET
    schema: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET
    pairs: list[AnswerPair] | msgspec.UnsetType = msgspec.UNSET
    """The first answers, as many as the plan asks for."""
    kind: AnswerKind | msgspec.UnsetType = msgspec.UNSET
    """Kind of the expected answers; unset in runs of earlier versions."""
    verdict: Verdict | msgspec.UnsetType = msgspec.UNSET
    """Whether training helped, over all rows; unset in runs of earlier versions."""
    preferences: PreferenceScores | msgspec.UnsetType = msgspec.UNSET
    """Set for a run that was trained on pairs."""


class RunResult(JobResult, frozen=True, kw_only=True, omit_defaults=True):
    """``result.json`` of a run."""

    training: TrainResult | None = None
    """None for a hosted run whose weights are at the platform."""
    remote: RemoteResult | None = None
    """None for a run of this machine."""
    merged: MergedModel | None = None
    """None if the plan does not ask for it, or if training was stopped."""
    compare: BaseComparison | None = None
    """None if the plan does not ask for it, or if training was stopped."""
    ship: ShipVerdict | None = None
    """The verdict of ``eval/evaluation.json``; None without one."""
    seconds: float
    """Of the newest attempt, with merging and comparing."""
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


def read_answers(folder: JobFolder) -> list[AnswerPair]:
    """Read the answers of a comparison; empty if they are missing or unreadable."""
    saved = read_json(folder.answers, SavedAnswers)
    return saved.answers if saved else []


def read_verdict(folder: JobFolder, result: RunResult | None) -> Verdict | None:
    """Return whether a run with this result is better than its base; None if not compared.

    Runs of earlier versions have no verdict: they are judged by their saved answers.
    """
    compared = result.compare if result else None
    if compared is None or not compared.rows:
        return None
    if compared.verdict:
        return compared.verdict
    answers = read_answers(folder)
    expected = [answer.expected for answer in answers]
    kind = answer_kind.find_kind(expected, is_json=bool(compared.schema))
    return judge_answers(answers, kind)


def judge_answers(answers: list[AnswerPair], kind: AnswerKind) -> Verdict | None:
    """Judge answers, also those without scores; None without answers."""
    if not answers:
        return None
    pairs = []
    for answer in answers:
        base, tuned = answer.base_scores, answer.tuned_scores
        pairs.append(
            ScoredPair(
                base or RowScores(match=answer_kind.is_match(kind, answer.base, answer.expected)),
                tuned or RowScores(match=answer_kind.is_match(kind, answer.tuned, answer.expected)),
                answer.tokens,
            )
        )
    return verdict.judge(kind, pairs)
