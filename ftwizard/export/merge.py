"""Merging to one model for serving, from an adapter and its base or from a full fine-tune.

Weights stream from the files of the base to those of the merged model, so that memory does not
grow with the model. What cannot be replayed tensor by tensor, such as fused experts, peft merges.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.errors import FtwizardError
from ftwizard.export.adapters import WEIGHTS, Adapter, read_adapter
from ftwizard.export.merge_layout import (
    Base,
    Layout,
    NotReplayable,
    copy_layout,
    merged_config,
    plan_merge,
    read_base,
)
from ftwizard.export.merged_blocks import check_finite, compute_blocks
from ftwizard.export.model_files import (
    copy_files,
    find_tokenizer,
    list_served,
    write_generation_config,
)
from ftwizard.export.quantized_base import list_quantized
from ftwizard.export.tensors import (
    ShardWriter,
    iterate_bytes,
    list_tensors,
    read,
    sum_bytes,
    to_bytes,
)
from ftwizard.hardware import machine
from ftwizard.jobs.folder import hash_file, publish, read_json, write_json
from ftwizard.models import model_folder, weight_files
from ftwizard.runs.checkpoints import MARKER
from ftwizard.runs.merge_proof import PROOF, BaseForm, Rounding
from ftwizard.runs.result import Dtype, MergedModel
from ftwizard.text import format_bytes, make_visible
from ftwizard.train.model_loading import load_model, load_tokenizer

MAX_SHARD_SIZE = "4GB"
"""Of what peft merges; other models keep the files of their base."""
MIN_SPARE_BYTES = 1_000_000
"""Free space needed besides weights and tokenizer, for headers and configuration."""
MAX_PEFT_ERROR = 1e-2
"""Normalized error of the logits of what peft merged, compared with its adapter before the merge:
rounding to 16 bit is below 1e-3."""
REPORT_EVERY_S = 1.0
Say = Callable[..., None]
"""Receives each part of the work: ``say(part, done=…, total=…, unit=…)``."""


def say_nothing(part: str, **progress: Any) -> None:
    """Ignore progress."""


def merge(
    base: Path,
    adapter: Path,
    out: Path,
    *,
    end_ids: list[int],
    say: Say = say_nothing,
    scale: float = 1.0,
    rounding: Rounding = "exact",
    onto: BaseForm = "16-bit",
    dtype: Dtype | None = None,
    hashes: dict[str, str] | None = None,
) -> MergedModel:
    """Merge ``adapter`` into ``base`` and write the model to ``out`` atomically.

    ``end_ids`` are the tokens that ended answers in training; the merged model stops generating at
    them. ``scale`` multiplies the adapter's change. ``dtype`` is by default the 16-bit type of the base.
    ``hashes`` are those of the adapter's files, if they were recorded. If ``out`` already has this model, it is kept. Raises FtwizardError if it
    has another one, for a quantized base, for an adapter that does not fit or is damaged, and
    without enough disk space.
    """
    settings = MergedModel(
        folder="", size_bytes=0, dtype=dtype or "", method="streamed", rounding=rounding, onto=onto,
        scale=scale, base=str(base.resolve()), adapter=str(adapter.resolve()),
    )  # fmt: skip
    if published := read_published(out, settings):
        return published
    weights, parts = read_base(base, dtype), read_adapter(adapter, hashes)
    tokenizer = find_tokenizer(adapter, base)
    with _open_part(out) as part:
        try:
            quantized = list_quantized(weights) if onto == "dequantized" else frozenset[str]()
            layout = plan_merge(weights, parts, quantized)
        except NotReplayable as reason:
            if onto != "16-bit" or scale != 1.0:
                raise FtwizardError(
                    f"This adapter can only be merged by peft, because {reason}. That merges at full "
                    "strength into the 16-bit base.",
                    "Leave out --onto and --scale.",
                ) from None
            settings = msgspec.structs.replace(settings, method="peft", reason=str(reason))
            _require_space(out, sum_bytes(weights.tensors.values()), base, tokenizer)
            _merge_with_peft(weights, parts, part, say)
            digests = {}
        else:
            _require_space(out, layout.size_bytes, base, tokenizer)
            digests = _write_weights(layout, part, rounding, scale, say)
            _write_json(part / "config.json", merged_config(weights, layout))
        return _finish(settings, out, part, weights, tokenizer, end_ids, digests)


def cast_checkpoint(
    base: Path, checkpoint: Path, out: Path, *, end_ids: list[int], say: Say = say_nothing,
    dtype: Dtype | None = None,
) -> MergedModel:  # fmt: skip
    """Write the weights of a full fine-tune's 32-bit ``checkpoint`` to ``out``, by default in the 16-bit
    type of its base.

    Everything but the weights is copied from ``base``, because the trainer changes model settings
    for training. See ``merge`` for the rest.
    """
    settings = MergedModel(
        folder="", size_bytes=0, dtype=dtype or "", method="streamed",
        base=str(checkpoint.resolve()),
    )  # fmt: skip
    if published := read_published(out, settings):
        return published
    weights = read_trained(base, checkpoint, dtype)
    layout = copy_layout(weights)
    tokenizer = find_tokenizer(checkpoint, base)
    with _open_part(out) as part:
        _require_space(out, layout.size_bytes, base, tokenizer)
        digests = _write_weights(layout, part, "exact", 1.0, say)
        _write_json(part / "config.json", merged_config(weights, layout))
        original = msgspec.structs.replace(weights, folder=base)
        return _finish(settings, out, part, original, tokenizer, end_ids, digests)


def read_trained(base: Path, checkpoint: Path, dtype: Dtype | None = None) -> Base:
    """Return the weights of a full fine-tune's checkpoint, with the configuration of its base."""
    config = model_folder.read_json(base / "config.json")
    is_half = (config or {}).get("dtype", (config or {}).get("torch_dtype")) == "float16"
    trained = read_base(checkpoint, dtype or ("float16" if is_half else "bfloat16"))
    return msgspec.structs.replace(trained, config=config or trained.config)


def read_published(out: Path, settings: MergedModel) -> MergedModel | None:
    """Return the merged model in ``out``, None if there is none.

    Raises FtwizardError if ``out`` has a model of other settings, or anything else.
    """
    published = read_json(out / MARKER, MergedModel)
    if published is None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise FtwizardError(
                f"{make_visible(str(out))} exists and is not a model that ftwizard merged.",
                "Choose a new folder with --out.",
            )
        return None
    for name in ("rounding", "onto", "scale", "dtype"):
        old, new = getattr(published, name), getattr(settings, name)
        if old != new and new != "" and published.hashes:
            raise FtwizardError(
                f"{make_visible(str(out))} has a model that was merged with --{name} {old}.",
                "To merge it anew: --replace; or choose a new folder with --out.",
            )
    # By content: a moved or copied run has other paths, and the same adapter.
    weights = {Path(folder) / WEIGHTS for folder in (published.adapter, settings.adapter) if folder}
    if len({hash_file(path) for path in weights if path.is_file()}) > 1:
        raise FtwizardError(
            f"{make_visible(str(out))} has a model that was merged from another adapter, "
            f"{make_visible(published.adapter)}.",
            "To merge it anew: --replace; or choose a new folder with --out.",
        )
    return published


def delete_published(out: Path) -> None:
    """Delete the merged model in ``out``, if there is one; it can be made again from its adapter.

    It is renamed first, so that what a kill leaves does not look like a model.
    """
    if (out / MARKER).is_file():
        aside = out.with_name(f".{out.name}.replaced")
        shutil.rmtree(aside, ignore_errors=True)
        out.rename(aside)
        shutil.rmtree(aside)


@contextlib.contextmanager
def _open_part(out: Path) -> Iterator[Path]:
    """Yield an empty folder next to ``out`` for the files in work; delete what a killed merge left.

    Its lock is held meanwhile, so that no second merge writes there. If the work fails or is
    stopped, the folder is deleted.
    """
    part = out.with_name(f".{out.name}.part")
    out.parent.mkdir(parents=True, exist_ok=True)
    part.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FtwizardError(
                f"Another merge is writing {make_visible(str(out))}.", "Wait until it has ended."
            ) from None
        for entry in part.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        try:
            yield part
        finally:
            shutil.rmtree(part, ignore_errors=True)  # after success, it was renamed
    finally:
        os.close(descriptor)


def _require_space(out: Path, size_bytes: int, *folders: Path | None) -> None:
    """Raise FtwizardError unless ``out`` can take the weights and the small files of ``folders``."""
    small = {
        path: path.stat().st_size for folder in folders if folder for path in list_served(folder)
    }
    needed = size_bytes + sum(small.values()) + MIN_SPARE_BYTES
    free = machine.get_free_bytes(out.parent)
    if free < needed:
        raise FtwizardError(
            f"The merged model needs {format_bytes(needed)} of disk space in "
            f"{make_visible(str(out.parent.resolve()))}, and {format_bytes(free)} is free.",
            "Free some space, or choose a folder on another disk with --out.",
        )


def _write_weights(
    layout: Layout, part: Path, rounding: Rounding, scale: float, say: Say
) -> dict[str, str]:
    """Write all shards and the index; return a hash of each shard by its name."""
    digests, total = {}, layout.size_bytes
    reporter = _Reporter(say, total)
    for name, outputs in layout.shards.items():
        header = {output.name: (output.dtype, output.shape) for output in outputs}
        writer = ShardWriter(part / name, header)
        try:
            for output in outputs:
                if output.is_copy:
                    for data in iterate_bytes(output.source):
                        writer.write(data)
                        reporter.add(len(data))
                    continue
                for block in compute_blocks(output, rounding, scale):
                    data = to_bytes(block.merged)
                    writer.write(data)
                    reporter.add(len(data))
            digests[name] = writer.close()
        finally:
            writer.abandon()
    if len(layout.shards) > 1:
        names = {output.name: name for name, outputs in layout.shards.items() for output in outputs}
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(names.items()))}
        _write_json(part / weight_files.INDEX, index)
    return digests


class _Reporter:
    def __init__(self, say: Say, total: int) -> None:
        self._say, self._total, self._done, self._last = say, total, 0, 0.0
        say("writing the model")

    def add(self, count: int) -> None:
        self._done += count
        if (now := time.monotonic()) - self._last >= REPORT_EVERY_S:
            self._last = now
            self._say("writing the model", done=self._done, total=self._total, unit="bytes")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _finish(
    settings: MergedModel,
    out: Path,
    part: Path,
    base: Base,
    tokenizer: Path | None,
    end_ids: list[int],
    digests: dict[str, str],
) -> MergedModel:
    """Add the small files and the marker, and rename the folder."""
    if tokenizer:
        # Before the weights are published: a server would only fail later.
        own_end = load_tokenizer(tokenizer).eos_token_id
        end_ids = end_ids or ([own_end] if isinstance(own_end, int) else [])
    copy_files(base.folder, tokenizer, part)
    write_generation_config(base.folder, part, end_ids)
    files = sorted(path for path in part.iterdir() if path.name not in (MARKER, PROOF))
    merged = msgspec.structs.replace(
        settings,
        folder=str(out.resolve()),  # a run's folder may have been moved meanwhile
        size_bytes=sum(path.stat().st_size for path in files),
        dtype=base.dtype_name,
        hashes={path.name: digests.get(path.name) or hash_file(path) for path in files},
    )
    write_json(part / MARKER, merged)
    publish(part, out)
    return merged


def _merge_with_peft(base: Base, adapter: Adapter, part: Path, say: Say) -> None:
    """Merge with peft, in the memory of the whole model; raise FtwizardError if it does not fit."""
    from peft import PeftModel

    for tensor in list_tensors(adapter.folder / WEIGHTS):
        check_finite(read(tensor), tensor)
    say("loading the base model (peft merges this adapter)")
    model = load_model(base.folder, {"F16": "fp16", "BF16": "bf16", "F32": "fp32"}[base.dtype])
    say("adding the adapter")
    try:
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            adapted = PeftModel.from_pretrained(model, adapter.folder).eval()
            expected = _compute_logits(adapted)
            merged = adapted.merge_and_unload()
    except (ValueError, RuntimeError, KeyError, TypeError, NotImplementedError) as error:
        message = make_visible((str(error).splitlines() or [type(error).__name__])[0], 300)
        raise FtwizardError(
            f"The adapter in {make_visible(str(adapter.folder))} does not fit the base model "
            f"{make_visible(str(base.folder))}, or peft cannot merge it: {message}",
            f"Its configuration names the base model {make_visible(adapter.base_name, 200)}."
            if adapter.base_name
            else "Pass the base model that it was trained on with --base.",
        ) from error
    for warning in raised:
        if "adapter keys" in str(warning.message):
            raise FtwizardError(
                f"The adapter in {make_visible(str(adapter.folder))} does not fit the base model "
                f"{make_visible(str(base.folder))}: some of its tensors belong to no module there, or "
                "are missing.",
                "Pass the base model that it was trained on with --base.",
            )
    difference = (_compute_logits(merged) - expected).square().mean() / expected.square().mean()
    if not difference <= MAX_PEFT_ERROR:
        raise FtwizardError(
            f"peft cannot merge the adapter in {make_visible(str(adapter.folder))}: the merged model "
            f"predicts something else, with a normalized error of {float(difference):.2g}.",
            "Serve the adapter with its base model instead.",
        )
    say("writing the model")
    merged.save_pretrained(part, max_shard_size=MAX_SHARD_SIZE)


def _compute_logits(model: Any) -> Any:
    """Return what a model predicts after a few tokens, in 32 bit."""
    import torch

    ids = torch.arange(32, device=model.device) * 997 % model.config.get_text_config().vocab_size
    with torch.inference_mode():
        return model(input_ids=ids[None]).logits.float()
