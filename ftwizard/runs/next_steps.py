"""Next steps with the model of a run: what is missing of it, what to change, and the one to take first."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.models import weight_files
from ftwizard.plan import export_forms, plan_file
from ftwizard.runs import (
    base_weights,
    custody,
    describe_evaluation,
    exports,
    hosted,
    merge_proof,
    remote,
)
from ftwizard.runs.checkpoints import MARKER
from ftwizard.runs.evaluation import Evaluation
from ftwizard.runs.evaluation_files import (
    Judgment,
    NewestEvaluation,
    find_newest,
    is_of_result,
    list_judgments,
)
from ftwizard.runs.evaluation_job import Candidate
from ftwizard.runs.remote import RemoteCheckpoint, RemoteJob
from ftwizard.runs.result import MergedModel, TrainResult, read_merged, read_trained
from ftwizard.text import format_bytes, make_visible


class SuggestedStep(NamedTuple):
    """Something to do with a model, as a public command."""

    text: str
    """What it does, beginning with a verb."""
    command: str
    """Empty for what no command does."""
    options: tuple[str, ...] = ()
    size_bytes: float | None = None
    """Of the files that it writes; None if small."""
    subject: str = ""
    """What the command is for; empty: the run."""
    form: str = ""
    """Name of the form of the model that it makes; empty for anything else."""
    is_closing: bool = False
    """Whether a model that may be shipped has everything: nothing is left to do."""

    @property
    def does_train(self) -> bool:
        return self.command in ("branch", "resume")

    def format_command(self, run_id: str) -> str:
        if not self.command:
            return ""
        words = ["ftwizard", self.command, self.subject or run_id, *self.options]
        return make_visible(shlex.join(words), 1000)

    def describe(self) -> str:
        """Describe the step, with the disk space that it takes."""
        size = f", about {format_bytes(self.size_bytes)}" if self.size_bytes else ""
        return f"{self.text[:1].upper()}{self.text[1:]}{size}"


STEPS = {
    "eval": SuggestedStep("evaluate it: compare it with its base", "eval"),
    "merge": SuggestedStep("merge it, and prove the merge", "merge"),
    "verify": SuggestedStep("verify: compare all forms on the same prompts", "verify"),
    "card": SuggestedStep("write its model card", "card"),
}
"""Steps that can be taken at any time, by command."""
_CHAT = SuggestedStep("chat: compare the answers of both models yourself", "chat", ("--base",))


def find_next(folder: JobFolder) -> SuggestedStep:
    """Return the best next step with the model of an ended run.

    A model that is to be shipped gets what is missing of it; another gets the first change that the
    verdict advises and that was not judged already. Where no command helps, it is a chat. Without its
    base model, which nearly all of this needs, that comes first.
    """
    step = _find_next(folder)
    if step.is_closing or step.command in ("card", "export"):
        return step
    return find_missing_base(folder) or step


def find_missing_base(folder: JobFolder) -> SuggestedStep | None:
    """Return the step that brings back the base model; None if it is there, or was never used."""
    trained = read_trained(folder)
    if trained is None:
        return None
    paths = weight_files.list_files(Path(trained.base))
    if paths and all(path.exists() for path in paths):
        return None
    expected, source = make_visible(trained.base, 300), base_weights.read_source(folder)
    if source and source.kind != "folder":
        text = f"download its base model again, which is missing in {expected}"
        return SuggestedStep(text, "merge", ("--base", source.name))
    return SuggestedStep(f"restore its base model, which is missing: {expected}", "")


def _find_next(folder: JobFolder) -> SuggestedStep:
    newest, trained = find_newest(folder, merged=False), read_trained(folder)
    if trained is None:
        return _find_hosted(folder, newest) if hosted.read_hosted(folder) else _CHAT
    if newest is None:
        return SuggestedStep("evaluate it: compare it with its base on three sets", "eval")
    judgments = list_judgments(folder)
    if newest.evaluation.verdict == "ship":
        if step := _judge_merged_strength(folder, judgments):
            return step
        return _complete(folder)
    for judgment in judgments:
        for candidate in judgment.result.candidates:
            if candidate.verdict == "ship" and not is_of_result(candidate, trained):
                return _use(folder, candidate, trained)
    return next(_list_untried(newest.evaluation, judgments, trained), _CHAT)


def _complete(folder: JobFolder) -> SuggestedStep:
    """Return what is missing of a model that may be shipped; a chat where nothing is."""
    return next(iter(list_missing(folder)), _CHAT._replace(is_closing=True))


def _find_hosted(folder: JobFolder, newest: NewestEvaluation | None) -> SuggestedStep:
    """Return the best next step with a model that is at a platform."""
    if newest is None:
        if step := _find_way_to_ask(folder):
            return step
        return SuggestedStep("evaluate it: compare it with its base on three sets", "eval")
    if newest.evaluation.verdict == "ship":
        return _complete(folder)
    judged = {
        candidate.step: candidate.verdict
        for judgment in list_judgments(folder)
        for candidate in judgment.result.candidates
        if candidate.step is not None
    }
    record = remote.read(folder)
    kept = record.checkpoints if record else ()
    if passed := next(
        (
            checkpoint
            for checkpoint in kept
            if checkpoint.model and judged.get(checkpoint.step) == "ship"
        ),
        None,
    ):
        verb = "deploy" if _is_deployed_by_user(record) else "ask for"
        return SuggestedStep(
            f"use checkpoint {passed.step}, which passed: {verb} model {passed.model}", ""
        )
    better = hosted.find_better_checkpoint(kept)
    if better and better.step not in judged:
        return _stop_at(better, needs_deployment=_is_deployed_by_user(record))
    for action, step in list_changes(newest.evaluation):
        if action != "checkpoint" or int(step.options[-1]) not in judged:
            return step
    return _CHAT


def _find_way_to_ask(folder: JobFolder) -> SuggestedStep | None:
    """Return what must come before the evaluation of a model that its platform does not serve by
    itself; None if it can be asked."""
    record = remote.read(folder)
    if record is None or record.tuned_endpoint or not record.tuned_model:
        return None
    serving = hosted.find_serving(record)
    if serving == "at_once":
        return None
    if folder.adapter.is_dir():
        return STEPS["merge"]._replace(
            text="merge its adapter, to evaluate and serve it here (downloads its base model if needed)"
        )
    if (whole := folder.path / hosted.DOWNLOADED).is_dir():
        return SuggestedStep(
            "export its weights, to serve it here", "export", ("--to", "gguf"), subject=str(whole)
        )
    better = hosted.find_better_checkpoint(record.checkpoints)
    if better and serving == "own_deployment":
        return _stop_at(better, needs_deployment=True)
    if serving == "free_deployment":
        return SuggestedStep(
            "deploy it, which is free while nobody asks it, to evaluate it", "deploy"
        )
    if serving == "never" and hosted.has_released_weights(record):
        return SuggestedStep("download its weights, to evaluate it here", "download")
    if serving == "never":
        text = (
            "buy capacity for it in the console of its platform, billed by the hour, to evaluate it"
        )
        return SuggestedStep(text, "")
    return SuggestedStep("deploy it, which is billed by the hour, to evaluate it", "deploy")


def _is_deployed_by_user(record: RemoteJob | None) -> bool:
    return record is not None and hosted.find_serving(record) == "own_deployment"


def _stop_at(kept: RemoteCheckpoint, *, needs_deployment: bool) -> SuggestedStep:
    """Return the step that judges a checkpoint that a platform keeps, in place of the last one.

    Where it answers only once it is deployed, that comes first: its command names the evaluation.
    """
    command = "deploy" if needs_deployment else "evaluate"
    text = (
        f"stop at the best epoch: {command} checkpoint {kept.step}, whose validation loss is lower"
    )
    options = ("--checkpoint", str(kept.step))
    if needs_deployment:
        return SuggestedStep(f"{text}, to evaluate it; billed by the hour", "deploy", options)
    return SuggestedStep(text, "eval", options)


def _judge_merged_strength(folder: JobFolder, judgments: list[Judgment]) -> SuggestedStep | None:
    """Return what a merged model at another strength than the one that passed needs, if it is one."""
    merged = read_merged(folder)
    if merged is None or merged.scale == 1.0:
        return None
    candidates = (candidate for judgment in judgments for candidate in judgment.result.candidates)
    judged = next((c for c in candidates if c.scale == merged.scale), None)
    if judged is None:
        text = "evaluate it at the strength at which it was merged"
        return SuggestedStep(text, "eval", ("--scale", f"{merged.scale:g}"))
    if judged.verdict == "ship":
        return None
    return SuggestedStep("merge it at full strength, which passed", "merge", ("--replace",))


def _use(folder: JobFolder, candidate: Candidate, trained: TrainResult) -> SuggestedStep:
    """Return the step that makes a model of weights that passed, else what that model lacks."""
    scale = ("--scale", f"{candidate.scale:g}") if candidate.scale != 1.0 else ()
    size_bytes = _measure_base(trained)
    if candidate.step in (None, trained.step):
        merged = read_merged(folder)
        if merged and merged.scale == candidate.scale:
            return _complete(folder)
        text = f"merge it at {candidate.scale:g} of the adapter's strength, which passed"
        replace = ("--replace",) if folder.merged.is_dir() else ()
        return SuggestedStep(text, "merge", (*scale, *replace), size_bytes)
    out = folder.path / f"merged-{candidate.step}"
    if trained.method == "full" or out.is_dir():
        return _CHAT
    checkpoint = folder.checkpoints / f"checkpoint-{candidate.step}"
    options = ("--base", trained.base, "--out", str(out), *scale)
    text = f"merge checkpoint {candidate.step}, which passed"
    return SuggestedStep(text, "merge", options, size_bytes, subject=str(checkpoint))


def _list_untried(
    evaluation: Evaluation, judgments: list[Judgment], trained: TrainResult
) -> Iterator[SuggestedStep]:
    """Yield the changes that the verdict advises, without those that were judged."""
    judged = [candidate for judgment in judgments for candidate in judgment.result.candidates]
    steps = {candidate.step for candidate in judged}
    has_weaker = any(candidate.scale != 1.0 for candidate in judged)
    for action, step in list_changes(evaluation):
        is_judged = action == "checkpoint" and int(step.options[-1]) in steps - {trained.step}
        if not is_judged and not (action == "scale" and has_weaker):
            yield step


def list_changes(evaluation: Evaluation) -> list[tuple[str, SuggestedStep]]:
    """List the changes that the verdict advises and a command makes, with the kind of each."""
    changes: list[tuple[str, SuggestedStep]] = []
    for action in evaluation.actions:
        if arguments := describe_evaluation.find_arguments(action):
            text = describe_evaluation.describe_action(action)
            changes.append((action.kind, SuggestedStep(text, arguments[0], arguments[1:])))
    return changes


def _list_merge_options(merged: MergedModel, trained: TrainResult | None) -> tuple[str, ...]:
    """Return the options of the merge that made a model."""
    options: list[str] = []
    if merged.scale != 1.0:
        options += ["--scale", f"{merged.scale:g}"]
    if merged.rounding != "exact":
        options += ["--rounding", merged.rounding]
    if trained and trained.method == "qlora":
        options += ["--onto", merged.onto]
    if merged.dtype == "float32":
        options += ["--dtype", merged.dtype]
    return tuple(options)


def make_merge(folder: JobFolder) -> SuggestedStep:
    """Return the step that merges a run, or proves its merged model by the options that made it."""
    merged = read_merged(folder)
    if merged is None:
        return STEPS["merge"]
    options = _list_merge_options(merged, read_trained(folder))
    return STEPS["merge"]._replace(text="prove the merged model", options=options)


def list_missing(folder: JobFolder) -> list[SuggestedStep]:
    """List what is missing of a run's model, what to make first first."""
    trained, merged = read_trained(folder), read_merged(folder)
    if hosted.read_hosted(folder):
        merge = STEPS["merge"]._replace(form="merged model")
        card = SuggestedStep("write its model card", "card", form="model card")
        absent = [merge] if folder.adapter.is_dir() else []
        return absent + ([] if folder.card.exists() else [card])
    if not folder.merged.is_dir():
        text = "merge it, and prove the merge"
        merge = SuggestedStep(text, "merge", size_bytes=_measure_base(trained), form="merged model")
        return [merge] if folder.adapter.is_dir() else []
    missing = []
    same = _list_merge_options(merged, trained) if merged else ()
    proof = merge_proof.read_proof(folder.merged)
    if proof is None or proof.verdict == "unproved":
        missing.append(SuggestedStep("prove the merged model", "merge", same, form="proof"))
    elif proof.verdict == "differs":
        text = "merge it again: the proof names a difference"
        missing.append(SuggestedStep(text, "merge", (*same, "--replace"), form="right merge"))
    records = [record for _, record in exports.iterate_records(folder.exports)]
    existing = {record.form for record in records if not exports.is_of_another(record, merged)}
    size_bytes = merged.size_bytes if merged else None
    for name in _list_planned_exports(folder):
        if name not in existing:
            missing.append(make_export(name, size_bytes))
    chain = custody.read(folder)
    if chain is None or chain.outcome is False or _is_older(folder):
        again = "compare all forms on the same prompts"
        if chain:
            again = "a form differs from what was trained"
            if chain.outcome is not False:
                again = "the model was merged since"
        text = f"verify{' again' if chain else ''}: {again}"
        missing.append(SuggestedStep(text, "verify", form="verification"))
    if not folder.card.exists():
        missing.append(SuggestedStep("write its model card", "card", form="model card"))
    return missing


def _is_older(folder: JobFolder) -> bool:
    """Return whether the newest verification is older than the merged model."""
    with contextlib.suppress(OSError):
        merged = (folder.merged / MARKER).stat().st_mtime
        return (folder.path / custody.FILE).stat().st_mtime < merged
    return False


def describe_card(folder: JobFolder) -> str:
    """Return where a run's card is, and whether it is older than what it describes.

    The commands that change the record write it again, unless a person edited it.
    """
    path, older = make_visible(str(folder.card)), ""
    if is_card_older(folder):
        older = f" (older than the model's newest result; a new one: ftwizard card {folder.id})"
    return path + make_visible(older)


def is_card_older(folder: JobFolder) -> bool:
    """Return whether the model was merged, exported, verified or evaluated after its card was written."""
    newest = find_newest(folder)
    records = [folder.merged / MARKER, folder.path / custody.FILE]
    records += [*folder.exports.glob(f"*/{exports.RECORD}")]
    records += [newest.folder.evaluation] if newest else []
    with contextlib.suppress(OSError):
        written = folder.card.stat().st_mtime_ns
        return any(path.stat().st_mtime_ns > written for path in records if path.exists())
    return False


def describe_model(folder: JobFolder) -> tuple[list[str], list[str]]:
    """Return in words what exists of a run's model, and what is missing of it."""
    existing = ["adapter"] if folder.adapter.is_dir() else []
    existing += ["downloaded weights"] if (folder.path / hosted.DOWNLOADED).is_dir() else []
    record = remote.read(folder)
    if record and record.tuned_model:
        existing.insert(0, f"model at {hosted.name_platform(record.provider)}")
    existing += ["merged model"] if folder.merged.is_dir() else []
    if proof := merge_proof.read_proof(folder.merged):
        mark = {"proved": "proved", "differs": "proof failed", "cannot_tell": "cannot be proved",
                "unproved": "not proved"}  # fmt: skip
        existing.append(mark[proof.verdict])
    existing += [record.form for _, record in exports.iterate_records(folder.exports)]
    if chain := custody.read(folder):
        outcome = {True: "verified", False: "verify failed", None: "verify cannot tell"}
        existing.append(outcome[chain.outcome])
    if folder.card.exists():
        existing.append("model card (older)" if is_card_older(folder) else "model card")
    missing = [step.form for step in list_missing(folder) if step.form]
    return [make_visible(name, 30) for name in existing], missing


def list_lines(folder: JobFolder) -> list[tuple[str, str]]:
    """Return labels and texts: what exists of the model of an ended run, what is missing, what is next."""
    existing, missing = describe_model(folder)
    rows = [("exists", ", ".join(existing)), ("missing", ", ".join(missing))]
    step = find_next(folder)
    rows.append(
        ("next", ": ".join(filter(None, (step.describe(), step.format_command(folder.id)))))
    )
    return [(label, text) for label, text in rows if text]


def make_export(name: str, merged_bytes: float | None) -> SuggestedStep:
    """Return the step that exports to a form. ``merged_bytes``: size of the merged model."""
    form = export_forms.parse(name)
    share = export_forms.sum_bits([name]) / export_forms.HALF_BITS
    size_bytes = merged_bytes * share if merged_bytes and form.needs_gguf else None
    return SuggestedStep(
        f"export it as {form.name}", "export", ("--to", form.name), size_bytes, form=form.name
    )


def _list_planned_exports(folder: JobFolder) -> list[str]:
    with contextlib.suppress(FtwizardError, OSError, ValueError):
        return [export_forms.parse(name).name for name in plan_file.read_run(folder).finish.export]
    return []


def _measure_base(trained: TrainResult | None) -> float | None:
    """Return the bytes of the base model's weights: a merged model has as many."""
    if trained is None:
        return None
    with contextlib.suppress(OSError, FtwizardError):
        return sum(path.stat().st_size for path in weight_files.list_files(Path(trained.base)))
    return None
