"""The request of a job at Together, from a plan, and its check against the limits of the model."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
from collections.abc import Iterable, Mapping
from typing import Any

from together.lib.resources.fine_tuning import create_finetune_request
from together.types.finetune_model_limits import FinetuneModelLimits

from ftwizard.plan.platforms.together import DEFAULT_EVALS, MAX_SUFFIX
from ftwizard.plan.schema import Plan, Together
from ftwizard.runs.remote import RemoteFile, RemoteJob
from ftwizard.text import make_visible

_MARK_DIGITS = 10
_MARK = re.compile(rf"ftw[0-9a-f]{{{_MARK_DIGITS}}}(?![0-9a-z])")
_COPIED = (
    "n_epochs", "n_checkpoints", "batch_size", "gradient_accumulation_steps", "learning_rate",
    "lr_scheduler_type", "min_lr_ratio", "scheduler_num_cycles", "warmup_ratio", "max_grad_norm",
    "weight_decay", "packing", "max_seq_length", "random_seed", "train_vision",
)  # fmt: skip
_LORA = ("lora_r", "lora_alpha", "lora_dropout", "lora_trainable_modules")
_EARLY_STOPPING = (
    "early_stopping_enabled", "early_stopping_patience", "early_stopping_min_delta",
    "early_stopping_warmup_evals",
)  # fmt: skip
_DPO = ("dpo_beta", "dpo_normalize_logratios_by_length", "rpo_alpha", "simpo_gamma")
Request = dict[str, Any]


def build_request(plan: Plan, remote: RemoteJob) -> Request:
    """Return the arguments of the SDK's ``fine_tuning.create``, without the key of W&B.

    Raises KeyError without an uploaded training file.
    """
    settings = plan.together
    request = _copy(settings, _COPIED)
    request["training_file"] = remote.files["train"].id
    validation = remote.files.get("validation")
    if validation is not None:
        request["validation_file"] = validation.id
    request["n_evals"] = count_evals(settings, has_validation=validation is not None)
    request["suffix"] = build_suffix(settings.suffix, remote.tag)
    request["training_method"] = settings.training_method
    if settings.from_checkpoint:
        request["from_checkpoint"] = settings.from_checkpoint
    else:
        request["model"] = remote.model
    request |= _choose_type(settings)
    if settings.training_method == "dpo":
        request |= _copy(settings, _DPO)
    else:
        request["train_on_inputs"] = settings.train_on_inputs
    if settings.early_stopping_enabled:
        request |= _copy(settings, _EARLY_STOPPING)
    return request | _build_wandb(plan)


def _copy(settings: Together, names: Iterable[str]) -> Request:
    values = {name: getattr(settings, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _choose_type(settings: Together) -> Request:
    """Choose LoRA or full; a job that continues another has that one's type unless the plan says."""
    lora = _copy(settings, _LORA)
    is_default = settings.lora and lora == _copy(Together(), _LORA)
    if settings.from_checkpoint and is_default:
        return {}
    return {"lora": True, **lora} if settings.lora else {"lora": False}


def _build_wandb(plan: Plan) -> Request:
    wandb = plan.together.wandb
    project = wandb.project or ("ftwizard" if "wandb" in plan.report_to else None)
    if project is None:
        return {}
    names = {"wandb_project_name": project, "wandb_name": wandb.name, "wandb_entity": wandb.entity}
    return {name: value for name, value in names.items() if value is not None}


def count_evals(settings: Together, *, has_validation: bool) -> int:
    """Return how often the job is evaluated."""
    if not has_validation:
        return 0
    return DEFAULT_EVALS if settings.n_evals is None else settings.n_evals


def build_suffix(suffix: str | None, tag: str) -> str:
    """Return the suffix of the tuned model's name, which ends in a mark of the run.

    Together keeps no notes on a job, but its suffix: a job is recognized by it after a lost reply.
    """
    mark = make_mark(tag)
    return f"{suffix[: MAX_SUFFIX - len(mark) - 1]}-{mark}" if suffix else mark


def make_mark(tag: str) -> str:
    """Return the mark of a run: short, and the same for the same tag."""
    return f"ftw{hashlib.sha256(tag.encode()).hexdigest()[:_MARK_DIGITS]}"


def has_mark(job: Mapping[str, Any], tag: str) -> bool:
    """Return whether a job has the mark of a run, in its suffix or in the name of its model."""
    return make_mark(tag) in _read_names(job)


def has_any_mark(job: Mapping[str, Any]) -> bool:
    """Return whether a job has the mark of any run."""
    return _MARK.search(_read_names(job)) is not None


def _read_names(job: Mapping[str, Any]) -> str:
    return f"{job.get('suffix') or ''} {job.get('model_output_name') or ''}"


def build_price_parameters(request: Mapping[str, Any]) -> Request:
    """Return the arguments of the SDK's ``fine_tuning.estimate_price`` for a job."""
    names = ("training_file", "validation_file", "model", "from_checkpoint", "n_epochs", "n_evals")
    parameters = {name: request[name] for name in names if request.get(name) is not None}
    if request["training_method"] == "dpo":
        parameters["training_method"] = {"method": "dpo"}
    else:
        inputs = request.get("train_on_inputs", "auto")
        parameters["training_method"] = {"method": "sft", "train_on_inputs": inputs}
    if request.get("lora") is False:
        parameters["training_type"] = {"type": "Full"}
    elif request.get("lora") and request.get("lora_r"):
        rank = request["lora_r"]
        alpha = int(request.get("lora_alpha") or 2 * rank)
        parameters["training_type"] = {"type": "Lora", "lora_r": rank, "lora_alpha": alpha}
    return parameters


def with_rank(request: Mapping[str, Any], limits: FinetuneModelLimits) -> Request:
    """Return a request with the LoRA rank that the platform would choose."""
    if request.get("lora") is not True or request.get("lora_r") is not None:
        return dict(request)
    lora = getattr(limits, "lora_training", None)
    rank = getattr(lora, "default_rank", None) or getattr(lora, "max_rank", None)
    return {**request, "lora_r": rank} if rank else dict(request)


def find_problems(plan: Plan, limits: FinetuneModelLimits) -> list[str]:
    """Return what is outside the limits of the model, each as ``setting: problem``."""
    settings = plan.together
    evals = count_evals(settings, has_validation=plan.has_validation)
    lora = getattr(limits, "lora_training", None)
    bounds: list[tuple[str, float | None, float | None, float | None]] = [
        ("n_epochs", settings.n_epochs, 1, _get(limits, "max_num_epochs")),
        ("n_evals", evals, 0, _get(limits, "max_num_evals")),
        ("n_checkpoints", settings.n_checkpoints, 0, _get(limits, "max_num_checkpoints")),
        (
            "learning_rate", settings.learning_rate,
            _get(limits, "min_learning_rate"), _get(limits, "max_learning_rate"),
        ),
        ("lora_r", settings.lora_r if settings.lora else None, 1, _get(lora, "max_rank")),
        ("suffix", len(settings.suffix or "") or None, 1, MAX_SUFFIX),
    ]  # fmt: skip
    problems = [
        f"together.{name} is {value:g}; {_describe_bounds(low, high)}"
        for name, value, low, high in bounds
        if value is not None
        and ((low is not None and value < low) or (high is not None and value > high))
    ]
    problems += _find_unsupported(settings, limits)
    return problems or _ask_sdk(plan, limits)


def _find_unsupported(settings: Together, limits: FinetuneModelLimits) -> list[str]:
    problems = []
    if not settings.lora and (
        _get(limits, "supports_full_training") is False or _get(limits, "full_training") is None
    ):
        problems.append("together.lora is false; this model has only LoRA")
    if settings.training_method == "dpo" and _get(limits, "max_seq_length_dpo") == 0:
        problems.append("together.training_method is dpo; this model has only sft")
    modules = _get(_get(limits, "lora_training"), "target_modules") or []
    wanted = settings.lora_trainable_modules
    if settings.lora and modules and wanted != "all-linear":
        unknown = [name for name in map(str.strip, wanted.split(",")) if name not in modules]
        if unknown:
            names = make_visible(", ".join(unknown), 100)
            allowed = make_visible(", ".join(modules), 200)
            problems.append(
                f"together.lora_trainable_modules has {names}; this model has {allowed}"
            )
    return problems


def _ask_sdk(plan: Plan, limits: FinetuneModelLimits) -> list[str]:
    """Return what the SDK itself refuses before it sends anything."""
    files = {"train": _placeholder("file-train")}
    if plan.has_validation:
        files["validation"] = _placeholder("file-validation")
    remote = RemoteJob(provider="together", tag="check", model=plan.model.name, files=files)
    try:
        check_by_sdk(build_request(plan, remote), limits)
    except ValueError as error:
        return [make_visible(str(error), 300).rstrip(".")]
    except (AttributeError, TypeError):
        return []  # limits that the service left out
    return []


def check_by_sdk(arguments: Mapping[str, Any], limits: FinetuneModelLimits) -> None:
    """Let the SDK check a request as it does before it creates a job, without what it prints.

    Raises ValueError for what it refuses, AttributeError and TypeError for limits it cannot use.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        create_finetune_request(model_limits=limits, **arguments)


def _placeholder(file_id: str) -> RemoteFile:
    return RemoteFile(path="", name="", rows=0, size_bytes=0, id=file_id)


def _get(record: Any, name: str) -> Any:
    return getattr(record, name, None)


def _describe_bounds(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return (
            f"at most {high:g} is allowed" if high is not None else f"at least {low:g} is allowed"
        )
    return f"{low:g}–{high:g} is allowed"
