"""LoRA adapters as peft saves them: their settings, and what they do to each module.

Names and the rules for patterns are those of peft 0.21 (``peft.utils.other.get_pattern_key``,
``peft.tuners.lora``).
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.export.tensors import StoredTensor, list_tensors
from ftwizard.jobs.folder import has_hash
from ftwizard.models import weight_files
from ftwizard.text import make_visible

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PICKLED = "adapter_model.bin"
_PREFIX = "base_model.model."
_PROMPT_TYPES = {
    "PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "ADAPTION_PROMPT",
    "CPT", "CARTRIDGE",
}  # fmt: skip
"""Types that add tokens or attention, and no change of weights."""
_HARMLESS = {
    "auto_mapping", "base_model_name_or_path", "revision", "task_type", "inference_mode",
    "peft_type", "peft_version", "r", "target_modules", "exclude_modules", "lora_alpha",
    "lora_dropout", "fan_in_fan_out", "use_rslora", "modules_to_save", "layers_to_transform",
    "layers_pattern", "rank_pattern", "alpha_pattern", "use_dora", "lora_bias", "runtime_config",
    "megatron_core", "loftq_config", "eva_config", "qalora_group_size", "ensure_weight_tying",
}  # fmt: skip
"""Settings of a LoRA adapter that are replayed, or that change nothing when it is merged."""
_PLAIN_INITS = (None, True, False, "gaussian", "eva")
"""Values of ``init_lora_weights`` that leave the base weights as they are."""
_SAVED_COPY, _UNUSED_COPY = ".modules_to_save", ".original_module"
"""Parts of names in adapters with resized embeddings: the trained module, and that of the base."""
_PARTS = re.compile(
    r"(?P<module>.+?)\.(?:(?P<part>lora_[AB]\.weight|lora_B\.bias|lora_embedding_[AB]"
    r"|lora_magnitude_vector(?:\.weight)?)|base_layer\.(?P<kept>weight|bias)|(?P<saved>weight|bias))"
)


class ModuleAdapter(msgspec.Struct, kw_only=True):
    """What an adapter does to one module: a LoRA, and weights that replace those of the base."""

    a: StoredTensor | None = None
    b: StoredTensor | None = None
    bias: StoredTensor | None = None
    """Bias of B, with ``lora_bias``."""
    magnitude: StoredTensor | None = None
    """Of DoRA."""
    is_embedding: bool = False
    saved: dict[str, StoredTensor] = {}
    """``weight`` and ``bias`` that replace those of the base."""
    scaling: float = 0.0

    @property
    def has_lora(self) -> bool:
        return self.a is not None


class Adapter(msgspec.Struct, kw_only=True):
    """An adapter in a folder."""

    folder: Path
    config: dict[str, Any]
    modules: dict[str, ModuleAdapter]
    """By the name of the module in the model."""
    unreplayed: str = ""
    """Why its merge cannot be replayed tensor by tensor; empty if it can."""

    @property
    def base_name(self) -> str:
        """Return the name of the base model that it was trained on; empty if not recorded."""
        return str(self.config.get("base_model_name_or_path") or "")


def read_adapter(folder: Path, hashes: dict[str, str] | None = None) -> Adapter:
    """Read the adapter in ``folder``; raise FtwizardError if it is none, damaged or never merged.

    ``hashes``: of its files, where they were recorded.
    """
    config = _read_config(folder)
    shown = make_visible(str(folder))
    for name, digest in (hashes or {}).items():
        if name in (CONFIG, WEIGHTS) and not has_hash(folder / name, digest):
            raise FtwizardError(
                f"{make_visible(str(folder / name))} changed since training wrote it.",
                "Restore it, or take the adapter of a checkpoint: ftwizard merge "
                "RUN/checkpoints/checkpoint-N --base BASE --out DIR",
            )
    kind = str(config.get("peft_type"))
    if kind in _PROMPT_TYPES:
        raise FtwizardError(
            f"The adapter in {shown} is of type {make_visible(kind, 40)}, which adds prompt vectors. "
            "There are no weights to merge.",
            "Serve it with peft, together with its base model.",
        )
    if kind != "LORA":
        reason = f"its type is {make_visible(kind, 40)}, not LoRA"
        return Adapter(folder=folder, config=config, modules={}, unreplayed=reason)
    tensors = _list_tensors(folder)
    modules: dict[str, ModuleAdapter] = {}
    unknown = [t.name for t in tensors if not _add_tensor(modules, t)]
    unreplayed = _find_unreplayed(config)
    if unknown and not unreplayed:
        unreplayed = f"it has tensors of an unknown kind ({make_visible(unknown[0], 100)})"
    if config.get("ensure_weight_tying") and sum(map(_is_tied, modules)) == 1:
        unreplayed = unreplayed or "it has only one of two embeddings that share weights"
    adapter = Adapter(folder=folder, config=config, modules=modules, unreplayed=unreplayed)
    if not unreplayed:
        _set_scaling(adapter)
    return adapter


def _read_config(folder: Path) -> dict[str, Any]:
    shown, path = make_visible(str(folder)), folder / CONFIG
    if not folder.is_dir():
        raise FtwizardError(
            f"{shown} is not a run, and there is no such folder.",
            "Pass a run id (ftwizard runs), or the folder of an adapter.",
        )
    if not path.exists():
        hint = "Pass the folder that has it, such as RUN/adapter or a checkpoint."
        if (folder / "config.json").exists():
            hint = (
                "It looks like a whole model. Pass it with --base, and the adapter's folder first."
            )
        raise FtwizardError(f"{shown} is not an adapter: it has no {CONFIG}.", hint)
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        config = None
    if not isinstance(config, dict) or not config.get("peft_type"):
        raise FtwizardError(
            f"{make_visible(str(path))} is damaged, or not a configuration of peft.",
            "Copy the adapter again.",
        )
    return config


def _list_tensors(folder: Path) -> list[StoredTensor]:
    path = folder / WEIGHTS
    if not path.exists() and (folder / PICKLED).exists():
        raise FtwizardError(
            f"{make_visible(str(folder))} has {PICKLED}: a pickle file, which can run any code. "
            "ftwizard reads only safetensors.",
            "If you trust it, load it with peft and save it again: "
            "PeftModel.from_pretrained(base, FOLDER).save_pretrained(NEW).",
        )
    if problem := weight_files.find_problem(path):
        raise FtwizardError(
            f"The adapter's weights {make_visible(str(path))} {problem.text}.",
            "Copy the adapter again, or merge another checkpoint.", code=weight_files.DAMAGED,
        )  # fmt: skip
    return list_tensors(path)


def _add_tensor(modules: dict[str, ModuleAdapter], tensor: StoredTensor) -> bool:
    """Sort a tensor into its module; return False if its name is not understood."""
    match = _PARTS.fullmatch(tensor.name.removeprefix(_PREFIX))
    if match is None or ".lora_" in match["module"] or ".base_layer" in match["module"]:
        return False
    name = match["module"].partition(_SAVED_COPY)[0]
    if name.endswith(_UNUSED_COPY):
        return True
    module = modules.setdefault(name, ModuleAdapter(saved={}))
    if kind := match["kept"] or match["saved"]:
        if name == match["module"] or kind not in module.saved:
            module.saved[kind] = tensor
        return True
    part = match["part"]
    if part.startswith("lora_magnitude"):
        module.magnitude = tensor
    elif part == "lora_B.bias":
        module.bias = tensor
    else:
        module.is_embedding = "embedding" in part
        if "_A" in part:
            module.a = tensor
        else:
            module.b = tensor
    return True


def _find_unreplayed(config: dict[str, Any]) -> str:
    """Return why an adapter with these settings cannot be replayed; empty if it can."""
    if config.get("target_parameters"):
        return "it adapts fused experts or other parameters (target_parameters)"
    if config.get("init_lora_weights") not in _PLAIN_INITS:
        init = make_visible(str(config["init_lora_weights"]), 40)
        return f"its initialization changed the base weights (init_lora_weights: {init})"
    if config.get("bias", "none") != "none":
        return "it also trained biases of the base (bias)"
    for name, value in config.items():
        if value and name not in _HARMLESS and name not in ("init_lora_weights", "bias"):
            return f"it uses {make_visible(name, 40)}"
    return ""


def _set_scaling(adapter: Adapter) -> None:
    """Check the LoRA of each module, and set its scaling: alpha / r, or alpha / √r with rsLoRA."""
    config = adapter.config
    for name, module in adapter.modules.items():
        if module.a is None and module.b is None and module.magnitude is None:
            continue
        if module.a is None or module.b is None:
            raise _make_damage(adapter.folder, f"module {name} has only one of A and B")
        if bool(config.get("use_dora")) != (module.magnitude is not None):
            raise _make_damage(adapter.folder, f"module {name} does not fit use_dora in {CONFIG}")
        try:
            rank = int(_find_by_pattern(config.get("rank_pattern"), name, config["r"]))
            alpha = float(_find_by_pattern(config.get("alpha_pattern"), name, config["lora_alpha"]))
        except (KeyError, TypeError, ValueError, re.error):
            raise _make_damage(adapter.folder, f"{CONFIG} has no valid r and lora_alpha") from None
        shapes = module.a.shape, module.b.shape
        if len(shapes[0]) != 2 or len(shapes[1]) != 2:
            adapter.unreplayed = f"module {make_visible(name, 100)} is not linear"
            return
        if shapes[0][0] != rank or shapes[1][1] != rank or rank < 1:
            raise _make_damage(adapter.folder, f"module {name} does not have rank {rank}")
        module.scaling = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    if not adapter.modules:
        raise _make_damage(adapter.folder, f"{WEIGHTS} has no tensors")


def _is_tied(module: str) -> bool:
    return module.endswith(("embed_tokens", "wte", "embed_in", "word_embeddings", "lm_head"))


def _find_by_pattern(patterns: Any, module: str, default: Any) -> Any:
    """Return the value of the first pattern that matches the end of a module's name."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default


def _make_damage(folder: Path, problem: str) -> FtwizardError:
    return FtwizardError(
        f"The adapter in {make_visible(str(folder))} is damaged: {make_visible(problem, 200)}.",
        "Copy it again, or merge another checkpoint.",
        code=weight_files.DAMAGED,
    )
