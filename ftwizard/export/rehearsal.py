"""The rehearsal: exports of the base model with a random small adapter, before a training.

A tokenizer or an architecture that the converter does not know, or a disk that is too small, is so
found before the GPU hours. It runs once for each base model, converter and forms.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import xxhash

from ftwizard import __version__, locations
from ftwizard.errors import FtwizardError
from ftwizard.export import converter, forms, source
from ftwizard.export.gguf_export import Say
from ftwizard.export.merge import merge
from ftwizard.jobs.folder import read_json, write_json
from ftwizard.models.hub import ModelSource
from ftwizard.plan import export_forms
from ftwizard.plan.export_forms import ExportForm
from ftwizard.plan.schema import Plan
from ftwizard.runs.exports import Rehearsal
from ftwizard.train import model_loading, target_modules

RANK = 2
SCALE = 0.02
"""Standard deviation of the random weights of both matrices."""


def list_forms(plan: Plan) -> list[ExportForm]:
    """Return the forms of a plan that need a conversion; the others cannot fail in a surprising way."""
    return [form for form in map(export_forms.parse, plan.finish.export) if form.needs_gguf]


def find_earlier(plan: Plan, model: ModelSource) -> Rehearsal | None:
    """Return the rehearsal of the same forms with the same base model, if it succeeded."""
    return read_json(_get_record(plan, model), Rehearsal)


def rehearse(plan: Plan, model: ModelSource, base: Path, work: Path, say: Say) -> Rehearsal:
    """Export ``base`` with a random adapter to the plan's forms, and delete the files again.

    ``work``: a folder that is created and deleted. The outcome is kept in the user's cache. Raises
    FtwizardError, with the cause, for what would also fail after the training.
    """
    began = time.monotonic()
    parts: dict[str, float] = {}
    findings: list[str] = []
    shutil.rmtree(work, ignore_errors=True)
    try:
        work.mkdir(mode=0o700, parents=True)
        converter.require_support(base, converter.find(say), model_loading.load_tokenizer(base))
        merged, parts = _merge_random(plan, base, work, say)
        exported = source.from_folder(merged, work / "export")
        for form in list_forms(plan):
            start = time.monotonic()
            record = forms.export(exported, form, say).record
            parts[form.name] = round(time.monotonic() - start, 1)
            findings += [text for text in record.findings if text not in findings]
    except FtwizardError as error:
        hint = "" if error.code == converter.UNKNOWN else error.hint
        rest = (
            "Nothing was trained. To train all the same, remove gguf and ollama from finish.export."
        )
        raise FtwizardError(
            f"The rehearsal of finish.export failed: {error.message}",
            f"{hint} {rest}".strip(),
            error.exit_code,
            code=error.code,
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    rehearsal = Rehearsal(
        base=model.name,
        forms=[form.name for form in list_forms(plan)],
        seconds=round(time.monotonic() - began, 1),
        parts=parts,
        findings=findings,
        created=time.time(),
    )
    write_json(_get_record(plan, model), rehearsal)
    return rehearsal


def _merge_random(plan: Plan, base: Path, work: Path, say: Say) -> tuple[Path, dict[str, float]]:
    """Return a model merged from a random adapter, and the seconds of each part.

    A full fine-tune has no adapter: the base itself is exported.
    """
    if plan.recipe.method == "full":
        return base, {}
    began = time.monotonic()
    say("adapter", what="a random one")
    adapter = work / "adapter"
    write_random_adapter(base, plan.recipe.target_modules, adapter)
    written = time.monotonic()
    ends = sorted(model_loading.read_stop_ids(base))
    merged = work / "merged"
    merge(
        base, adapter, merged, end_ids=ends,
        say=lambda part, **fields: say("merging", what=part, **fields),
    )  # fmt: skip
    seconds = {"adapter": written - began, "merge": time.monotonic() - written}
    return merged, {name: round(value, 1) for name, value in seconds.items()}


def write_random_adapter(base: Path, targets: Iterable[str] | None, out: Path) -> None:
    """Write an adapter of rank 2 on all target modules of a model; the model is not loaded."""
    import torch
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
    from safetensors.torch import save_file

    model = model_loading.without_weights(base)
    resolved = target_modules.resolve(model, tuple(targets) if targets else None)
    config = LoraConfig(
        r=RANK, lora_alpha=2 * RANK, target_modules=resolved.modules,
        target_parameters=resolved.parameters or None, task_type="CAUSAL_LM",
        base_model_name_or_path=str(base), inference_mode=True,
    )  # fmt: skip
    adapted: Any = get_peft_model(model, config)
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(tensor.shape, generator=generator) * SCALE
        for name, tensor in get_peft_model_state_dict(adapted, save_embedding_layers=False).items()
    }
    out.mkdir(mode=0o700)
    save_file(weights, out / "adapter_model.safetensors", {"format": "pt"})
    config.save_pretrained(str(out))
    model_loading.load_tokenizer(base).save_pretrained(out)


def _get_record(plan: Plan, model: ModelSource) -> Path:
    recipe = plan.recipe
    inputs = [
        __version__, model.fingerprint, converter.WHEEL.sha256, recipe.method == "full",
        recipe.target_modules, sorted(form.name for form in list_forms(plan)),
    ]  # fmt: skip
    digest = xxhash.xxh3_128_hexdigest(msgspec.json.encode(inputs))
    root = locations.create_private_folder(locations.cache_folder() / "rehearsals")
    return root / f"{digest}.json"
