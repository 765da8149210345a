"""The model that is exported: a run's merged model, or any folder of a 16-bit model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from ftwizard.errors import FtwizardError
from ftwizard.evaluate.chat import read_system_prompt
from ftwizard.jobs.folder import JobFolder
from ftwizard.models import weight_files
from ftwizard.plan import plan_file
from ftwizard.runs import base_weights
from ftwizard.runs.result import read_trained
from ftwizard.text import make_visible
from ftwizard.train import model_loading


class ExportSource(NamedTuple):
    """A model, and what training says about it."""

    name: str
    """Of the exported files: the run's id, or the folder's name."""
    model: Path
    """Folder of the 16-bit model."""
    out: Path
    """Folder of the exports, one folder each."""
    end_ids: list[int]
    """Tokens that ended answers in training."""
    template: str | None
    """Chat template of the training."""
    system: str | None = None
    """System prompt of the training data."""
    max_length: int | None = None
    """Tokens of an example in training, at most."""
    adapter: Path | None = None
    """Folder of the run's adapter."""
    base_name: str | None = None
    """Hub id or folder of the model that the adapter is for."""


def from_run(run: JobFolder) -> ExportSource:
    """Return what a run exports; raise FtwizardError if it has no merged model."""
    trained = read_trained(run)
    shown = make_visible(run.id)
    if trained is None:
        hint = f"Its state: ftwizard status {shown}"
        raise FtwizardError(f"Run {shown} has no trained model yet.", hint)
    if not run.merged.is_dir():
        raise FtwizardError(
            f"Run {shown} has no merged model, which every export is made from.",
            f"Merge it first: ftwizard merge {shown}",
        )
    weight_files.check_folder(run.merged, f"Delete {make_visible(str(run.merged))}; merge again.")
    base, base_source = Path(trained.base), base_weights.read_source(run)
    is_on_hub = base_source is not None and base_source.kind == "hub"
    has_base = (base / "tokenizer_config.json").exists()
    plan = plan_file.read_recorded(run)
    return ExportSource(
        name=run.id,
        model=run.merged,
        out=run.exports,
        end_ids=trained.end_ids,
        template=read_template(model_loading.load_tokenizer(base if has_base else run.merged)),
        system=read_system_prompt(run),
        max_length=plan.recipe.max_length if plan else None,
        adapter=run.adapter if run.adapter.is_dir() else None,
        base_name=base_source.name if base_source and is_on_hub else trained.base,
    )


def from_folder(model: Path, out: Path | None = None) -> ExportSource:
    """Return what a model's folder exports, by default to the folder ``NAME-export`` next to it.

    Raises FtwizardError for quantized weights, and for an adapter without its base.
    """
    model = model.absolute()
    if (model / "adapter_config.json").exists() and not (model / "config.json").exists():
        shown = make_visible(str(model))
        raise FtwizardError(
            f"{shown} is an adapter, not a model.",
            f"Merge it first: ftwizard merge {shown} --base MODEL --out DIR",
        )
    if not (model / "config.json").exists():
        raise FtwizardError(
            f"{make_visible(str(model))} is neither a run nor a model folder (no config.json).",
            "Name a run (ftwizard runs lists them), or a folder written by save_pretrained.",
        )
    model_loading.read_config(model)
    weight_files.check_folder(model)
    tokenizer = model_loading.load_tokenizer(model)
    ends = model_loading.read_stop_ids(model)
    return ExportSource(
        name=model.name,
        model=model,
        out=out or model.with_name(f"{model.name}-export"),
        end_ids=sorted(ends) or [i for i in (tokenizer.eos_token_id,) if i is not None],
        template=read_template(tokenizer),
    )


def read_template(tokenizer: Any) -> str | None:
    """Return a tokenizer's chat template, the default one of several; None without one."""
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    return template if isinstance(template, str) else None
