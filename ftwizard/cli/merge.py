"""``merge``: an adapter and its base as one model, with a proof that it is right."""

from __future__ import annotations

import argparse
import contextlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from ftwizard import user_paths
from ftwizard.cli import output, progress, run_argument
from ftwizard.errors import CANNOT_TELL, FAILED, USAGE, FtwizardError, MissingExtra
from ftwizard.hardware.machine import is_installed
from ftwizard.jobs import leftovers
from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.jobs.status import observe
from ftwizard.models import hub
from ftwizard.models.hub import ModelSource
from ftwizard.plan import plan_file
from ftwizard.runs import base_weights, default_run, hosted, store
from ftwizard.runs.merge_proof import MergeProof, describe_proof, format_verdict
from ftwizard.runs.result import MergedModel, TrainResult, read_result, read_trained
from ftwizard.text import format_bytes, make_visible

PartSay = Callable[..., None]
"""Receives a part of the work, and how far it is."""
_EXIT_CODES = {"proved": 0, "differs": FAILED, "cannot_tell": CANNOT_TELL}
_BASE_FORMS = {
    "16-bit": "Merged into the 16-bit base. Training used a 4-bit form of it, so answers may differ a "
    "little. To merge into what training used: --onto dequantized",
    "dequantized": "Merged into the base as training used it, rounded to 4 bit. Answers "
    "are the nearest to the adapter's; all else is as coarse as the 4-bit base.",
}
"""What the base of a QLoRA merge means."""


class MergeReport(msgspec.Struct, frozen=True, kw_only=True):
    """``merge --json``."""

    merged: MergedModel
    proof: MergeProof


def merge(arguments: argparse.Namespace) -> int:
    """Merge a run, or an adapter trained elsewhere; return 0 proved, 1 it differs, 4 cannot tell."""
    _refuse_without_adapter(arguments.source)
    for package in ("transformers", "peft"):
        if not is_installed(package):
            raise MissingExtra("local", package)
    from transformers.utils import logging

    from ftwizard.train import runtime
    from ftwizard.train.probe_runner import exit_on_sigterm

    runtime.silence_libraries()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    warnings.simplefilter("ignore")  # of libraries, about their own next versions
    adapter = _find_adapter(arguments)
    with progress.reporter() as reporter, exit_on_sigterm():

        def say(part: str, **fields: object) -> None:
            reporter("merging", what=part, **fields)

        if adapter is None:
            report, notes = _merge_run(arguments, say)
        else:
            report, notes = _merge_adapter(adapter, arguments, say)
    output.print_report(arguments, report, [*_describe(report), *notes])
    return _EXIT_CODES[report.proof.verdict]


def _refuse_without_adapter(name: str | None) -> None:
    """Raise FtwizardError for a named run whose weights are at a platform only."""
    with contextlib.suppress(FtwizardError):  # a folder, or a name that is reported later
        if name is None or store.find(name).adapter.is_dir():
            return
    run_argument.refuse_hosted(name, "merged")


def _find_adapter(arguments: argparse.Namespace) -> Path | None:
    """Return the adapter's folder that is meant; None for a run."""
    name: str | None = arguments.source
    if name is None or store.is_run(name):
        return None
    folder = user_paths.expand(name)
    if user_paths.exists(folder / "job.json"):
        return None
    if user_paths.is_folder(folder) or (arguments.base is not None and "/" in name):
        return folder
    return None


def _merge_run(arguments: argparse.Namespace, say: PartSay) -> tuple[MergeReport, list[str]]:
    from ftwizard.export import platform_adapter
    from ftwizard.export.card import write
    from ftwizard.export.merge import delete_published
    from ftwizard.export.run_merge import merge_run, prove_run

    folder = run_argument.find(arguments.source, default_run.choose_merged)
    leftovers.end(folder)
    if observe(folder).state != "ended":
        raise FtwizardError(
            f"Run {make_visible(folder.id)} has not ended. It merges its model at its end.",
            f"Follow it: ftwizard watch {make_visible(folder.id)}",
        )
    plan = plan_file.read_recorded(folder) or plan_file.load(folder.plan, begun=True)
    trained, base, source = _find_weights(folder, arguments.base, say)
    out = user_paths.expand(arguments.out) if arguments.out else folder.merged
    if arguments.replace:
        delete_published(out)
    merged = merge_run(
        folder, trained, out, say, base=base, rounding=arguments.rounding,
        onto=arguments.onto or "16-bit", scale=arguments.scale, dtype=arguments.dtype,
    )  # fmt: skip
    if source is not None:  # only now: with a wrong base model, nothing is merged
        platform_adapter.record_trained(folder, trained, source)
    proof = prove_run(folder, plan, trained, out, say, base=base)
    base_weights.wait()
    if out == folder.merged and (result := read_result(folder)) and result.merged != merged:
        write_json(folder.result, msgspec.structs.replace(result, merged=merged))
    if out == folder.merged:
        write.refresh(folder)
    notes = [_BASE_FORMS[merged.onto]] if trained.method == "qlora" else []
    return MergeReport(merged=merged, proof=proof), notes


def _find_weights(
    folder: JobFolder, base_name: str | None, say: PartSay
) -> tuple[TrainResult, Path, ModelSource | None]:
    """Return a run's record of its training and its base model; of an adapter from a platform that
    was not merged yet, also where the base model is from."""
    from ftwizard.export import platform_adapter

    record = hosted.read_hosted(folder)
    if record and folder.adapter.is_dir():
        locate = platform_adapter.locate_base
        source = hub.locate(base_name) if base_name else locate(folder, record)
        base = hub.fetch(source, lambda text, **fields: say(text, **fields))
        return platform_adapter.make_trained(folder, record, base, source), base, source
    trained = read_trained(folder)
    if trained is None:
        raise FtwizardError(
            f"Run {make_visible(folder.id)} has no trained weights.",
            f"Continue it: ftwizard resume {make_visible(folder.id)}",
        )
    return trained, _find_base(folder, trained, base_name, say), None


def _find_base(folder: JobFolder, trained: TrainResult, name: str | None, say: PartSay) -> Path:
    """Return the run's base model; raise FtwizardError if it is gone, or not the one it began with."""
    base = _fetch(name, say) if name else Path(trained.base)
    if not base.is_dir():
        source = base_weights.read_source(folder)
        hint = "Restore that folder, or name another copy of it with --base."
        if source and source.kind != "folder":
            hint = f"Download it again with: --base {make_visible(source.name)}"
        raise FtwizardError(
            f"The base model of run {make_visible(folder.id)} is gone: {make_visible(str(base))}.",
            hint,
        )
    if trained.method != "full":
        hint = "Restore the old files, or pass a folder that has them with --base."
        base_weights.require_unchanged(
            folder, base, hint, lambda subject: say(f"reading {subject}")
        )
    return base


def _merge_adapter(
    adapter: Path, arguments: argparse.Namespace, say: PartSay
) -> tuple[MergeReport, list[str]]:
    from ftwizard.export.adapters import read_adapter
    from ftwizard.export.merge import delete_published
    from ftwizard.export.merge import merge as merge_weights
    from ftwizard.export.proof import prove, write_proof

    recorded = read_adapter(adapter).base_name
    if not arguments.base or not arguments.out:
        missing = " and ".join(name for name in ("base", "out") if not getattr(arguments, name))
        example = make_visible(recorded or "BASE", 200)
        raise FtwizardError(
            f"An adapter that no run trained needs --{missing.replace(' and ', ' and --')}.",
            f"For example: ftwizard merge {make_visible(arguments.source)} --base {example} --out merged",
            USAGE,
        )
    base, out = _fetch(arguments.base, say), user_paths.expand(arguments.out)
    if arguments.replace:
        delete_published(out)
    merged = merge_weights(
        base, adapter, out, end_ids=[], say=say, scale=arguments.scale,
        rounding=arguments.rounding, onto=arguments.onto or "16-bit", dtype=arguments.dtype,
    )  # fmt: skip
    proof = msgspec.structs.replace(
        prove(out, base=base, adapter=adapter, say=say), behavior_skipped="there is no test set"
    )
    write_proof(out, proof)
    notes = []
    if recorded and recorded not in (arguments.base, str(base)):
        notes.append(
            f"The adapter's configuration names another base model, {make_visible(recorded, 200)}. The "
            "shapes fit; whether it is the same model, they do not tell."
        )
    return MergeReport(merged=merged, proof=proof), notes


def _fetch(name: str, say: PartSay) -> Path:
    return hub.fetch(hub.locate(name), lambda text, **fields: say(text, **fields))


def _describe(report: MergeReport) -> Iterator[str]:
    merged, proof = report.merged, report.proof
    size = format_bytes(merged.size_bytes)
    yield f"Merged model: {make_visible(merged.folder)} ({size}, {merged.dtype})"
    _, *lines = describe_proof(proof)
    yield format_verdict(proof)
    yield from (f"  {line}" for line in lines)
