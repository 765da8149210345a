"""A fine-tune on this machine, from the plan to the best adapter. Read it top to bottom."""

from __future__ import annotations

import gc
import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import msgspec

from ftwizard import machine, models
from ftwizard import plan as plans
from ftwizard.data import read, split
from ftwizard.errors import FtwizardError
from ftwizard.jobs.ending import GOOD, reason_of
from ftwizard.jobs.folder import JobFolder, write_json
from ftwizard.jobs.worker import Ended, Outcome, Worker
from ftwizard.plan import Plan
from ftwizard.text import plural
from ftwizard.train import checkpoints
from ftwizard.train.tokenise import Encoded, Encoder, Report, encode_rows

PROGRESS_SECONDS = 1.0
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """``adapter/ftwizard.json``: which weights these are, and how the training ended."""

    reason: str
    """``finished``, ``early_stopped`` or ``stopped``."""
    message: str
    step: int
    """The step that the weights are of: the best evaluation, else the last."""
    eval_loss: float | None
    last_step: int
    total_steps: int
    base: str
    """Folder of the base model."""
    base_said: str
    end_ids: list[int]
    """Tokens that end an answer."""
    rows: dict[str, int]
    """Rows given and trained on, by part."""
    tokens: int
    """Tokens seen, over all attempts."""
    template_added: list[str]
    """What the chat template itself puts into the loss."""


def run(worker: Worker) -> Ended:
    """Train and finish as the plan says."""
    plan = plans.load(worker.folder.plan)
    began = time.time()
    trained = read_trained(worker.folder)
    if trained is None or trained.reason not in GOOD:
        trained = train(worker, plan)
    result: dict[str, Any] = {"training": msgspec.to_builtins(trained)}
    if trained.reason in GOOD:
        from ftwizard.finish import finish

        result |= finish(worker, plan, trained)
        checkpoints.remove_torn(worker.folder.checkpoints)
    result["seconds"] = round(time.time() - began, 1)
    return Ended(trained.reason, result, trained.message)


def read_trained(folder: JobFolder) -> Trained | None:
    """Return what ``adapter/`` holds, or None before there is one."""
    try:
        return msgspec.json.decode((folder.adapter / checkpoints.MARKER).read_bytes(), type=Trained)
    except FileNotFoundError:
        return None


def train(worker: Worker, plan: Plan) -> Trained:
    """Train the adapter and leave its best weights in ``adapter/``."""
    recipe = plan.recipe
    # 1. Rows first: bad data should not wait for gigabytes of weights.
    worker.phase("reading")
    parts = load_rows(plan)

    # 2. The base model, fetched if need be.
    worker.phase("fetching")
    source = msgspec.convert(worker.record.inputs["model"], models.Source)
    base = models.fetch(source, _progress(worker, "fetching"))

    # 3. Libraries, then the tokens, proved.
    worker.phase("loading", what="libraries")
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer
    from transformers.utils import logging
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    from ftwizard.train.callbacks import Keeping, OverfitDetector, Recorder, Steering

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    worker.phase("tokenising")
    tokenizer = AutoTokenizer.from_pretrained(base)
    encoder = Encoder(tokenizer, stop_ids(base))
    encoded, reports = encode_parts(worker, encoder, parts, recipe.max_length)

    # 4. The model, in the precision that the hardware multiplies.
    worker.phase("loading", what="model")
    precision = choose_precision(recipe.precision)
    has_gpu = torch.cuda.is_available()
    model = load_model(base, precision)
    checkpoint = worker.checkpoint and worker.folder.path / worker.checkpoint
    marker = checkpoints.read(checkpoint) if checkpoint else None
    for name in checkpoints.set_torn_aside(worker.folder.checkpoints):
        worker.events.write(
            "finding",
            code="torn_checkpoint",
            severity="info",
            message=f"{name} was not complete (a kill during a save); it was set aside.",
        )

    # 5. How often to look: every 50 steps, and at least six times (SPEC H6).
    total = total_steps(plan, len(encoded["train"]))
    every = recipe.evaluation_steps or evaluation_steps(total)
    has_validation = bool(encoded["validation"])
    config = SFTConfig(
        output_dir=str(worker.folder.checkpoints),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.gradient_accumulation,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.schedule
        if recipe.schedule != "constant"
        else "constant_with_warmup",
        warmup_steps=round(recipe.warmup * total),
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        seed=recipe.seed,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=not has_gpu,
        gradient_checkpointing=has_gpu
        if recipe.gradient_checkpointing is None
        else recipe.gradient_checkpointing,
        dataloader_pin_memory=has_gpu,
        # Rows are masked and cut already; TRL's own ways refuse many templates and drop rows.
        assistant_only_loss=False,
        max_length=None,
        packing=False,
        # Each step is on record, as it is: a filtered NaN would hide.
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if has_validation else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=recipe.save_steps or every,
        save_total_limit=None,  # rotation is ours: theirs deletes before the new one is marked
        load_best_model_at_end=False,
        disable_tqdm=True,
        report_to=list(plan.report_to) or "none",
        run_name=worker.folder.id,
    )
    recorder = Recorder(worker, marker.tokens if marker else 0)
    steering = Steering(worker, plan.budget.hours)
    detector = OverfitDetector(worker, recipe.patience)
    trainer = SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_dict(_columns(encoded["train"])),
        eval_dataset=Dataset.from_dict(_columns(encoded["validation"])) if has_validation else None,
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=recipe.rank,
            lora_alpha=recipe.alpha,
            lora_dropout=recipe.dropout,
            target_modules=list(recipe.target_modules),
            task_type="CAUSAL_LM",
        ),
        callbacks=[recorder, steering, detector, Keeping(worker, recorder)],
    )
    _reconcile(trainer, encoded)
    _name_base(trainer.model, source)

    # 6. Train; from here on a TERM saves before it ends.
    worker.check_stop()
    worker.saves_itself = True
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except Exception as error:
        _make_room(worker.folder, error)
        raise
    finally:
        worker.saves_itself = False
    if steering.end_reason == "nan":
        raise Outcome("nan", steering.message)
    reason = steering.end_reason or ("early_stopped" if detector.fired else "finished")

    # 7. The best weights that are on disk become the adapter.
    last_step, max_steps = trainer.state.global_step, trainer.state.max_steps
    del trainer, model
    gc.collect()
    kept = checkpoints.all_complete(worker.folder.checkpoints)
    chosen = checkpoints.best(kept) or kept[-1]
    trained = Trained(
        reason=reason,
        message=steering.message,
        step=chosen.step,
        eval_loss=chosen.eval_loss,
        last_step=last_step,
        total_steps=max_steps,
        base=str(base),
        base_said=source.said,
        end_ids=sorted(encoder.end_ids),
        rows={f"{name}_{what}": value for name, report in reports.items()
              for what, value in (("given", report.rows), ("used", report.kept))},
        tokens=recorder.tokens,
        template_added=sorted(encoder.added),
    )  # fmt: skip
    write_adapter(worker.folder, worker.folder.checkpoints / chosen.name, trained)
    return trained


def load_rows(plan: Plan) -> dict[str, list[read.Row]]:
    """Read and split the rows: ``train``, ``validation``, ``heldout``.

    Raises FtwizardError for bad rows (unless insisted on) and for too few.
    """
    skip_bad = "skip-bad-rows" in plan.insist
    files = plan.data.files

    def rows(name: str) -> list[read.Row]:
        return read.usable(read.read(Path(name)), skip_bad=skip_bad)

    parts = split.split(
        rows(files.train),
        validation=plan.validation_share,
        heldout=plan.heldout_share,
        seed=plan.data.split.seed,
    )
    return {
        "train": parts.train,
        "validation": rows(files.validation) if files.validation else parts.validation,
        "heldout": rows(files.heldout) if files.heldout else parts.heldout,
    }


def encode_parts(
    worker: Worker, encoder: Encoder, parts: dict[str, list[read.Row]], max_length: int
) -> tuple[dict[str, list[Encoded]], dict[str, Report]]:
    """Encode every part, and say what becomes of its rows."""
    encoded: dict[str, list[Encoded]] = {}
    reports: dict[str, Report] = {}
    for name, rows in parts.items():
        say = _progress(worker, "tokenising")
        encoded[name], reports[name] = encode_rows(
            encoder, rows, max_length,
            lambda done, total, say=say: say(None, done=done, total=total, unit="rows"),
        )  # fmt: skip
        report = reports[name]
        worker.events.write("data", part=name, **msgspec.to_builtins(report))
        if report.lost:
            worker.events.write(
                "finding",
                code="rows_without_loss",
                severity="warning",
                message=f"{plural(len(report.lost), 'row')} of {report.rows:,} ({name}) have no "
                f"token to train on and are left out (first at line {report.lost[0]}): "
                f"cut to {max_length} tokens, or every answer has the weight 0.",
            )
    return encoded, reports


def choose_precision(wanted: str) -> str:
    """Return ``bf16``, ``fp16`` or ``fp32``: what was asked for, else what the hardware has."""
    import torch

    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if machine.has_bfloat16_cpu() else "fp32"


def load_model(base: Path, precision: str) -> Any:
    """Load the base model; raise FtwizardError for one that cannot be trained like this."""
    import torch
    from transformers import AutoModelForCausalLM

    config = json.loads((base / "config.json").read_text())
    if config.get("quantization_config"):
        raise FtwizardError(
            f"{base} is quantised already; its weights cannot be trained on or merged into.",
            "Choose the original 16-bit model.",
        )
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
    try:
        return AutoModelForCausalLM.from_pretrained(
            base, dtype=dtype, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise FtwizardError(
            f"The model in {base} cannot be loaded: {str(error).splitlines()[0][:300]}",
            "It needs safetensors weights of a causal language model that transformers knows.",
        ) from error


def stop_ids(base: Path) -> set[int]:
    """Return the tokens at which the model's generation ends, by its own configuration."""
    found: set[int] = set()
    for file in ("generation_config.json", "config.json"):
        try:
            value = json.loads((base / file).read_text()).get("eos_token_id")
        except (OSError, ValueError):
            continue
        found.update(value if isinstance(value, list) else [] if value is None else [value])
    return found


def total_steps(plan: Plan, rows: int) -> int:
    """Return the optimizer steps of the whole training."""
    recipe = plan.recipe
    batches = -(-rows // recipe.batch_size)
    each_epoch = max(1, -(-batches // recipe.gradient_accumulation))
    return max(1, math.ceil(each_epoch * recipe.epochs))


def evaluation_steps(total: int) -> int:
    """Return the interval: 50 steps, or less where six evaluations need it (SPEC H6)."""
    return max(1, min(plans.EVALUATION_STEPS, total // plans.MIN_EVALUATIONS))


def write_adapter(folder: JobFolder, checkpoint: Path, trained: Trained) -> None:
    """Make ``adapter/`` hold the weights of ``checkpoint``, whole or not at all."""
    part = folder.path / ".adapter.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    for file in checkpoint.iterdir():
        if file.name in _ADAPTER_FILES or file.name.startswith(
            ("token", "chat_template", "special")
        ):
            shutil.copyfile(file, part / file.name)
    checkpoints.sync_files(part)
    write_json(part / checkpoints.MARKER, trained)
    shutil.rmtree(folder.adapter, ignore_errors=True)
    part.rename(folder.adapter)


def _columns(rows: list[Encoded]) -> dict[str, list[list[int]]]:
    return {"input_ids": [r.input_ids for r in rows], "labels": [r.labels for r in rows]}


def _reconcile(trainer: Any, encoded: dict[str, list[Encoded]]) -> None:
    """Raise FtwizardError if the trainer holds other rows than it was given."""
    held = len(trainer.train_dataset)
    if held != len(encoded["train"]):
        raise FtwizardError(
            f"{len(encoded['train']):,} rows were given to the trainer, {held:,} are in it.",
            "This is a fault of ftwizard with this version of TRL; please report it.",
        )


def _name_base(model: Any, source: models.Source) -> None:
    """Let the adapter name the Hub model and commit that it belongs to."""
    if source.kind != "hub":
        return
    for config in model.peft_config.values():
        config.base_model_name_or_path = source.name
        config.revision = source.commit


def _progress(worker: Worker, phase: str) -> models.Report:
    """Return a reporter that writes a phase event for each new ``what``, else once a second."""
    said: dict[str, Any] = {"at": time.monotonic(), "what": None}

    def report(what: str | None, **fields: Any) -> None:
        now = time.monotonic()
        if what == said["what"] and now - said["at"] < PROGRESS_SECONDS:
            return
        said.update(at=now, what=what)
        worker.phase(phase, what=what, **fields)

    return report


def _make_room(folder: JobFolder, error: Exception) -> None:
    """After a full disk ended a save, remove the torn checkpoint so that the end can be told."""
    reason = reason_of(error, folder)
    if reason != "disk_full":
        return
    checkpoints.set_torn_aside(folder.checkpoints)
    checkpoints.remove_torn(folder.checkpoints)
    raise Outcome(
        "disk_full",
        f"The disk that holds {folder.path} is full; the last complete checkpoint is kept.",
    ) from error
