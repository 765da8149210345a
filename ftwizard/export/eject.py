"""The folder of an ejected script: ``train.py``, ``requirements.txt`` and its rows in ``data/``."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ftwizard import __version__
from ftwizard.errors import FtwizardError
from ftwizard.estimate import training_setup
from ftwizard.export import objective_script, script_rows, training_script
from ftwizard.export.script_rows import ScriptRow
from ftwizard.export.training_script import ScriptFacts
from ftwizard.hardware import hub_kernels
from ftwizard.jobs import events
from ftwizard.jobs.folder import NO_SPACE, JobFolder, sync_files, sync_folder
from ftwizard.models import hub
from ftwizard.plan.schema import Plan, Recipe
from ftwizard.runs import environment
from ftwizard.runs.ejected_script import Accelerator, EjectReport, RowForm, require_empty
from ftwizard.text import format_epochs, make_visible
from ftwizard.train import (
    dataset,
    initial_weights,
    launcher,
    loss_head,
    model_loading,
    packing,
    prompt_rows,
    reward_check,
    runtime,
    sharding,
    target_modules,
    trainer_rows,
)
from ftwizard.train.encoder import EncodedRow, Encoder, encode_rows, load_encoder
from ftwizard.train.objectives import preference

REQUIRED = ("torch", "transformers", "trl", "accelerate", "datasets", "tokenizers", "safetensors")
MAX_HEAD_BYTES = 8 << 20
"""Part of a run's events in which it says what it loaded."""
_PRIVATE = 0o700
_HINT = "The script would not compute the losses of the run. Restore the old files, or eject a plan instead."
Say = Callable[..., None]


class Origin(NamedTuple):
    """What a script is made from."""

    name: str
    """``run tickets-1124`` or ``plan tickets.yaml``."""
    plan: Plan
    run: JobFolder | None = None


class _Loaded(NamedTuple):
    """What a run recorded when it loaded its model, or a plan would choose on this machine."""

    precision: str
    attention: str | None
    targets: tuple[str, ...]
    parameters: tuple[str, ...]


def eject(
    origin: Origin, out: Path, say: Say, accelerator: Accelerator | None = None
) -> EjectReport:
    """Write the script of a run or a plan to the new folder ``out``.

    ``accelerator``: GPUs of a machine that SkyPilot rents, for a task file next to the script; one for
    each process. Raises FtwizardError if ``out`` exists and is not empty, for a disk that is full, for
    data or a base model that changed since the run started, and for a training that has no plain
    equivalent, or none in so many processes.
    """
    require_empty(out)
    plan, record = origin.plan, origin.run.read_job() if origin.run else None
    processes = objective_script.choose_processes(plan, accelerator.count if accelerator else None)
    rewards = plan.recipe.grpo.rewards if plan.recipe.objective == "grpo" else ()
    copies = objective_script.copy_rewards(rewards)
    say("reading", what="rows")
    if origin.run:
        launcher.require_files(origin.run, plan, _HINT)
    parts = dataset.load_rows(plan, record.hashes if record else {})
    say("looking", what="for the model")
    source = (
        msgspec.convert(record.inputs["model"], hub.ModelSource)
        if record
        else hub.locate(plan.model.name, plan.model.revision)
    )
    if origin.run:
        launcher.refuse_changes(
            origin.run, plan, _HINT, data=False, say=lambda subject: say("reading", what=subject)
        )
    base = hub.fetch_tokenizer(source, lambda what, **fields: say("fetching", what=what, **fields))
    encoder = load_encoder(base, lambda phase, **fields: say(phase, **fields))
    rows = _encode(encoder, parts, plan.recipe, say)
    every_row = [row for part in rows.values() for row in part]
    say("checking", what="that the script makes the same tokens and mask")
    form = script_rows.choose_form(
        encoder, every_row, plan.recipe.max_length, plan.recipe.objective
    )
    facts = _gather_facts(origin, source, base, encoder, rows, form, processes)
    versions, are_recorded = _choose_versions(origin, facts)
    files = {
        "train.py": training_script.build(plan, facts),
        "requirements.txt": _list_requirements(versions),
    }
    files |= copies
    cluster = training_script.name_cluster(out.name)
    if accelerator:
        files[training_script.TASK] = training_script.build_task(cluster, accelerator.kind, facts)
    data = {"train": rows["train"] + rows["mix"], "validation": rows["validation"]}
    with _new_folder(out) as part:
        for name, text in files.items():
            (part / name).parent.mkdir(mode=_PRIVATE, exist_ok=True)
            _write(part / name, [text])
        (part / "data").mkdir(mode=_PRIVATE)
        for name, listed in data.items():
            if listed:
                documents = script_rows.to_documents(listed, form, plan.recipe.objective)
                lines = (msgspec.json.encode(row).decode() + "\n" for row in documents)
                _write(part / "data" / f"{name}.jsonl", lines)
        if facts.initial_adapter:
            assert origin.run is not None
            _copy_adapter(origin.run, part / "initial")
    installed = environment.read_versions(versions)
    return EjectReport(
        origin=origin.name,
        folder=str(out),
        files={str(f.relative_to(out)): f.stat().st_size for f in sorted(out.rglob("*")) if f.is_file()},
        rows={f"{name}.jsonl": len(listed) for name, listed in data.items() if listed},
        form=form,
        versions=versions,
        are_recorded=are_recorded,
        differing={name: installed.get(name, "") for name in versions if installed.get(name) != versions[name]},
        left_out=facts.left_out,
        processes=processes,
        task=f"sky launch -c {cluster} {training_script.TASK}" if accelerator else None,
        gpu=accelerator.kind if accelerator else None,
    )  # fmt: skip


def _encode(
    encoder: Encoder, parts: dataset.Rows, recipe: Recipe, say: Say
) -> dict[str, list[ScriptRow]]:
    encode = prompt_rows.encode_prompts if recipe.objective == "grpo" else encode_rows
    kept: dict[str, list[ScriptRow]] = {}
    for name in ("train", "mix", "validation"):
        rows = parts.get(name, [])
        by_line = {row.line: row for row in rows}
        encoded, _ = encode(
            encoder, rows, recipe.max_length,
            lambda done, total: say("tokenizing", done=done, total=total, unit="rows"),
            needed=name == "train",
        )  # fmt: skip
        ordered = trainer_rows.order(encoded, recipe) if name == "train" else encoded
        kept[name] = [ScriptRow(by_line[row.line], row) for row in ordered]
    return kept


def _gather_facts(
    origin: Origin,
    source: hub.ModelSource,
    base: Path,
    encoder: Encoder,
    rows: dict[str, list[ScriptRow]],
    form: RowForm,
    processes: int,
) -> ScriptFacts:
    plan = origin.plan
    model = model_loading.without_weights(base)
    _require_plain(origin, model)
    loaded = (_read_loaded(origin.run) if origin.run else None) or _choose(plan, base, model)
    encoded = [row.encoded for row in rows["train"] + rows["mix"]]
    sequences = len(encoded)
    if plan.recipe.packing:
        sequences = len(packing.build_dataset(encoded, pack_to=plan.recipe.max_length))
    if plan.recipe.objective == "grpo":
        prompt_rows.require_enough(sequences, plan.recipe, plan.ranks)
    eos = encoder.tokenizer.eos_token_id
    router = {"router_aux_loss_coef": None if plan.recipe.method == "full" else 0.0}
    router |= loss_head.router_settings(model)
    has_router = hasattr(model.config.get_text_config(), "router_aux_loss_coef")
    return ScriptFacts(
        origin=make_visible(origin.name),
        version=__version__,
        model=source.name if source.kind == "hub" else str(base),
        model_note=_describe_model(source),
        revision=source.commit if source.kind == "hub" else None,
        precision=loaded.precision,  # type: ignore[arg-type]
        attention=loaded.attention,
        targets=loaded.targets,
        parameters=loaded.parameters,
        form=form,
        train=len(encoded),
        mixed=len(rows["mix"]),
        validation=len(rows["validation"]),
        total=training_setup.count_steps(sequences, plan.recipe, plan.ranks).total,
        processes=processes,
        end_ids=tuple(sorted(encoder.special_ids)),
        router_loss=router["router_aux_loss_coef"] if has_router else None,
        checkpointing=_name_checkpointing(),
        has_experts=model_loading.has_experts(base),
        initial_adapter=_has_initial_weights(origin.run),
        asks_reference_first=preference.asks_reference_first(
            plan.recipe, has_origin=_has_initial_weights(origin.run)
        ),
        stop_ids=tuple(sorted(encoder.stop_ids | ({eos} - {None}))),
        notes=tuple(_list_reasons(origin)),
        left_out=tuple(_list_left_out(plan, processes, shards=_shards(origin, base, encoded))),
    )


def _shards(origin: Origin, base: Path, encoded: Sequence[EncodedRow]) -> bool:
    """Return whether the run shared the model among its processes, or one of the plan would here."""
    for event in _read_head(origin.run) if origin.run else ():
        if event.get("phase") == "training" and event.get("parallel"):
            return bool(event["parallel"] == "fsdp")
    choice = sharding.choose(origin.plan, base, {"train": encoded})
    return choice is not None and choice.mode == "fsdp"


def _describe_model(source: hub.ModelSource) -> str:
    if source.kind == "folder":
        return "A folder of the machine where this was written: change it elsewhere."
    if source.kind == "packaged":
        return f"{source.description}. Its folder here; elsewhere, use {source.name}."
    return "On the Hugging Face Hub."


def _require_plain(origin: Origin, model: Any) -> None:
    """Raise FtwizardError for a training that a plain script cannot repeat."""
    kind = type(model).__name__
    if model.base_model is model:
        raise FtwizardError(
            f"{kind} cannot be ejected: TRL does not find its decoder, which ftwizard corrects in "
            "TRL itself.",
            "Train it with ftwizard.",
        )
    if origin.plan.recipe.method == "full" and _has_initial_weights(origin.run):
        raise FtwizardError(
            "A full fine-tune that began with the weights of another run cannot be ejected: they are "
            "not part of a script.",
            "Eject the run that it was branched from.",
        )


def _has_initial_weights(run: JobFolder | None) -> bool:
    return run is not None and run.origin.is_dir()


def _copy_adapter(run: JobFolder, folder: Path) -> None:
    folder.mkdir(mode=_PRIVATE)
    for name in initial_weights.ADAPTER:
        shutil.copyfile(run.origin / name, folder / name)
        (folder / name).chmod(0o600)


def _read_loaded(run: JobFolder) -> _Loaded | None:
    """Return what a run recorded in its events; None if it did not load its model."""
    loading = {e.get("what"): e for e in _read_head(run) if e.get("phase") == "loading"}
    if "trainer" not in loading:
        return None
    adapter, trainer = loading.get("adapter", {}), loading["trainer"]
    return _Loaded(
        trainer["precision"], trainer["attention"],
        tuple(adapter.get("target_modules", ())), tuple(adapter.get("target_parameters", ())),
    )  # fmt: skip


def _read_head(run: JobFolder) -> list[Any]:
    """Return the first events of a run."""
    try:
        with run.events.open("rb") as file:
            return events.decode(file.read(MAX_HEAD_BYTES))[0]
    except FileNotFoundError:
        return []


def _choose(plan: Plan, base: Path, model: Any) -> _Loaded:
    """Return what a run of the plan would choose on this machine."""
    recipe = plan.recipe
    precision = runtime.choose_precision(recipe, model_loading.read_config(base))
    attention = runtime.choose_attention(recipe, precision, base)
    if recipe.method == "full":
        return _Loaded(precision, attention, (), ())
    targets = target_modules.resolve(model, recipe.target_modules)
    if targets.parameters and recipe.method == "qlora":
        raise FtwizardError(
            f"The plan cannot be ejected: which modules of {type(model).__name__} get an adapter is "
            "known only once its weights are in 4 bit.",
            "Start a run of the plan, then eject that: ftwizard train",
        )
    return _Loaded(precision, attention, tuple(targets.modules), tuple(targets.parameters))


def _name_checkpointing() -> str:
    from trl.trainer.sft_config import SFTConfig

    names = {field.name for field in dataclasses.fields(SFTConfig)}
    prefix = "activation" if "activation_checkpointing" in names else "gradient"
    return f"{prefix}_checkpointing"


def _list_reasons(origin: Origin) -> Iterator[str]:
    """Yield the reasons that the run and its plan recorded."""
    if origin.plan.provider_reason:
        yield f"Why on this machine: {origin.plan.provider_reason}"
    rewards = origin.run.read_job().inputs.get("rewards", {}) if origin.run else {}
    if reward_check.describe_changes(origin.plan, rewards):
        yield "A file of rewards changed since the run started. The script has the newer one."
    if origin.run and (why := origin.run.read_job().inputs.get("epochs")):
        yield f"Why {format_epochs(origin.plan.recipe.epochs)}: {why}"


def _list_left_out(plan: Plan, processes: int, *, shards: bool) -> Iterator[str]:
    """Yield what the run does besides the training, or in another way."""
    yield from objective_script.list_limits(plan)
    if shards:
        yield "FSDP: each GPU needs memory for the whole model"
    if plan.nodes > 1:
        yield f"the {plan.nodes} machines: one has the rows of all in each step"
    elif plan.ranks > processes == 1:
        yield f"the {plan.ranks} processes: one has the rows of all in each step"
    limits = [n for n in ("minutes", "hours", "usd") if getattr(plan.budget, n) is not None]
    yield from (f"the limit budget.{name}" for name in limits)
    if plan.recipe.padding_free and not plan.recipe.packing:
        yield "recipe.padding_free: the rows are padded, which changes no loss"
    if plan.samples.count or plan.samples.prompts:
        yield "sample answers"
    if plan.finish.compare:
        yield "the evaluation and its gate"
    if plan.finish.export:
        yield f"the export to {', '.join(plan.finish.export)}"
    if plan.recipe.save_steps:
        yield "checkpoints besides those at evaluations"


def _choose_versions(origin: Origin, facts: ScriptFacts) -> tuple[dict[str, str], bool]:
    """Return the versions of the needed packages, and whether the run recorded them."""
    recorded = environment.read_environment(origin.run) if origin.run else None
    adapter = () if origin.plan.recipe.method == "full" else ("peft",)
    quantized = ("bitsandbytes",) if origin.plan.recipe.method == "qlora" else ()
    flash = ("flash-attn",) if facts.attention == "flash_attention_2" else ()
    from_hub = origin.plan.recipe.kernels or facts.attention == hub_kernels.FLASH_ATTENTION
    kernels = ("kernels",) if from_hub else ()
    rewards = objective_script.get_packages(origin.plan)
    names = (*REQUIRED, *adapter, *quantized, *flash, *kernels, *rewards)
    versions = dict(environment.read_versions(rewards))
    versions |= recorded.packages if recorded else environment.read_versions(names)
    return {name: versions[name] for name in names if name in versions}, recorded is not None


def _list_requirements(versions: Mapping[str, str]) -> str:
    lines = [f"# Python {platform.python_version()}"]
    for name, version in versions.items():
        public, _, local = version.partition("+")
        lines.append(f"{name}=={public}" + (f"  # it was {version}" if local else ""))
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """Yield a hidden folder to fill, which becomes ``out`` if nothing fails."""
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        part.mkdir(mode=_PRIVATE)
        yield part
        sync_files(part)
        part.rename(out)  # also over an empty folder, never over another
        sync_folder(out.parent)
    except OSError as error:
        shown = make_visible(str(out))
        if error.errno in NO_SPACE:
            raise FtwizardError(
                f"No disk space is left in {make_visible(str(out.parent))}: {shown} was not written.",
                "Free some disk space, or name a folder on another disk.",
            ) from None
        raise FtwizardError(
            f"{shown} could not be written: {error.strerror}.", "Name another folder."
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(path: Path, lines: Any) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(lines)
