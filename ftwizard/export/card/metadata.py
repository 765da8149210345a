"""Metadata of a model card, as the Hub accepts them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ftwizard.export.card.facts import Facts
from ftwizard.plan.schema import LM_EVAL

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCardData

_PACKAGED = {"general": "ftwizard general set", "safety": "ftwizard safety set"}
_METRICS = {"accuracy": "accuracy", "chrf": "chrf", "rouge": "rouge"}
"""Metrics that the Hub lists, by the name of ours."""
_LICENSES = "assets/hub_licenses.txt"


def make_metadata(facts: Facts) -> ModelCardData:
    """Return the metadata; what is unknown is left out."""
    from huggingface_hub import ModelCardData

    results = list(_list_results(facts))
    repos = dict.fromkeys(split.repo for split in facts.hub_data.values())
    if record := facts.elsewhere:
        return ModelCardData(
            pipeline_tag="text-generation",
            tags=["ftwizard", record.provider],
            datasets=list(repos) or None,
            model_name=facts.title if results else None,
            eval_results=results or None,
        )
    method = facts.local.method
    is_adapter = facts.content == "adapter"
    more: dict[str, Any] = _name_license(facts.license.name)
    if facts.base_id:
        more["base_model_relation"] = "adapter" if is_adapter else "finetune"
    return ModelCardData(
        base_model=facts.base_id,
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag="text-generation",
        tags=["ftwizard", "trl", "sft", *([method] if method != "full" else [])],
        datasets=list(repos) or None,
        model_name=facts.title if results else None,
        eval_results=results or None,
        **more,
    )


def _name_license(license: str | None) -> dict[str, str]:
    """Return the fields of a license: one that the Hub does not list is ``other``, with its name."""
    if license is None:
        return {}
    listed = files("ftwizard").joinpath(_LICENSES).read_text("utf-8").split()
    if license.lower() in listed:
        return {"license": license.lower()}
    return {"license": "other", "license_name": license}


def _list_results(facts: Facts) -> Iterator[EvalResult]:
    """Yield the scores on sets that others can have: packaged ones, and tasks of lm-eval.

    A score on private rows has no data set on the Hub to stand under; it is in the text.
    """
    from huggingface_hub import EvalResult

    sets = facts.evaluation.sets if facts.evaluation else {}
    for name, result in sets.items():
        data_set = _find_public_set(name)
        score = result.arms.get("tuned")
        if data_set is None or score is None or not score.n or score.metric not in _METRICS:
            continue
        yield EvalResult(
            task_type="text-generation",
            dataset_type=data_set,
            dataset_name=f"{_PACKAGED.get(name, data_set)} ({score.n} items)",
            metric_type=_METRICS[score.metric],
            metric_value=round(score.score, 4),
            source_name=None,
        )


def _find_public_set(name: str) -> str | None:
    if name in _PACKAGED:
        return f"ftwizard-{name}"
    is_task = name.startswith(LM_EVAL) and not name.endswith((".yaml", ".yml"))
    return name.removeprefix(LM_EVAL) if is_task else None
