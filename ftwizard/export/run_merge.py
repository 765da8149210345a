"""Merge and proof of a run's model, from its own record."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ftwizard.errors import USAGE, FtwizardError
from ftwizard.export import merge_behavior
from ftwizard.export.merge import Say, cast_checkpoint, merge
from ftwizard.export.proof import prove, write_proof
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.worker import Worker
from ftwizard.plan.schema import Plan
from ftwizard.runs.merge_proof import BaseForm, MergeProof, Rounding, describe_verdict
from ftwizard.runs.result import Dtype, MergedModel, TrainResult
from ftwizard.text import make_visible
from ftwizard.train import budget

MIN_PROOF_S = 120.0
"""Time left by ``budget.minutes`` below which merged and unmerged answers are not compared."""


def merge_run(
    folder: JobFolder,
    trained: TrainResult,
    out: Path,
    say: Say,
    *,
    base: Path,
    rounding: Rounding = "exact",
    onto: BaseForm = "16-bit",
    scale: float = 1.0,
    dtype: Dtype | None = None,
) -> MergedModel:
    """Merge a run's adapter into ``base``, or cast its full fine-tune; errors as in ``merge``.

    Whether ``base`` is unchanged, the caller has checked.
    """
    if onto == "dequantized" and trained.method != "qlora":
        raise FtwizardError(
            f"Run {make_visible(folder.id)} did not train on 4-bit weights.",
            "Leave out --onto.",
            USAGE,
        )
    if trained.method != "full":
        return merge(
            base, folder.adapter, out, end_ids=trained.end_ids, say=say, scale=scale,
            rounding=rounding, onto=onto, dtype=dtype, hashes=trained.hashes,
        )  # fmt: skip
    if scale != 1.0:
        raise FtwizardError(
            f"Run {make_visible(folder.id)} is a full fine-tune: it has no adapter to scale.",
            "Leave out --scale.",
            USAGE,
        )
    checkpoint = _get_checkpoint(folder, trained)
    if not checkpoint.is_dir():
        raise FtwizardError(
            f"The weights of run {make_visible(folder.id)} are gone: {checkpoint.name} was deleted.",
            f"Train again: ftwizard train {make_visible(str(folder.plan))}",
        )
    return cast_checkpoint(base, checkpoint, out, end_ids=trained.end_ids, say=say, dtype=dtype)


def prove_run(
    folder: JobFolder,
    plan: Plan,
    trained: TrainResult,
    out: Path,
    say: Say,
    *,
    base: Path,
    skips_answers: str = "",
) -> MergeProof:
    """Prove the merged model of a run in ``out``, and write the proof into that folder.

    If its weights are right, its answers are compared with the adapter's, unless there is a reason
    to skip that.
    """
    is_full = trained.method == "full"
    proof = prove(
        out, base=_get_checkpoint(folder, trained) if is_full else base,
        adapter=None if is_full else folder.adapter, say=say,
    )  # fmt: skip
    if proof.verdict != "differs":
        check = skips_answers or merge_behavior.check_behavior(
            folder, plan, trained, base, out, proof, say
        )
        if isinstance(check, str):
            proof = msgspec.structs.replace(proof, behavior_skipped=check)
        else:
            verdict = proof.verdict if check.is_within else "differs"
            proof = msgspec.structs.replace(proof, behavior=check, verdict=verdict)
    write_proof(out, proof)
    return proof


def prove_in_run(worker: Worker, plan: Plan, trained: TrainResult, say: Say) -> None:
    """Prove the merged model within a run; what was not proved is a finding, the run goes on."""
    linked = JobFolder(worker.folder.link)
    seconds = budget.seconds_left(worker.folder, plan)
    is_short = seconds is not None and seconds < MIN_PROOF_S
    proof = prove_run(
        linked, plan, trained, linked.merged, say, base=Path(trained.base),
        skips_answers="budget.minutes leaves no time" if is_short else "",
    )  # fmt: skip
    if proof.verdict != "proved":
        severity = "warning" if proof.verdict == "differs" else "info"
        message = f"The merged model: {describe_verdict(proof)}"
        worker.events.write_finding("merge_not_proved", message, severity)


def _get_checkpoint(folder: JobFolder, trained: TrainResult) -> Path:
    return folder.checkpoints / f"checkpoint-{trained.step}"
