"""Models that Together fine-tunes, and their limits."""

from __future__ import annotations

import contextlib
import difflib

from together import NotFoundError
from together.types.finetune_model_limits import FinetuneModelLimits

from ftwizard.providers.base import LiveModel, ProviderError, tolerate
from ftwizard.providers.together.client import TogetherClient
from ftwizard.text import make_visible

_SUPPORTED_PATH = "/v1/fine-tunes/models/supported"


def list_models(client: TogetherClient) -> list[LiveModel]:
    """Return the models that jobs can be created with."""
    with client.translate():
        names: list[str] = []
        with contextlib.suppress(NotFoundError):
            listed = client.sdk.models.list_supported(product="PRODUCT_FINE_TUNING")
            names = [str(model.name) for model in listed if getattr(model, "name", None)]
        if not names:
            # The list of the fine-tuning API itself, which the SDK has no method for.
            answer = client.sdk.get(_SUPPORTED_PATH, cast_to=object)
            models = answer.get("models") if isinstance(answer, dict) else None
            names = [str(name) for name in models or []]
    visible = dict.fromkeys(make_visible(name, 120) for name in names)
    return [LiveModel(id=name, tunable=True) for name in visible]


def read_limits(client: TogetherClient, source: str, model: str) -> FinetuneModelLimits:
    """Return the limits of a model, or of the job that another continues."""
    with tolerate("missing"), client.translate():
        return client.sdk.fine_tuning.model_limits(model_name=source.partition(":")[0])
    raise ProviderError(
        "missing", f"Together does not fine-tune {make_visible(source, 80)}.",
        _suggest_model(client, model), code="model_not_supported",
    )  # fmt: skip


def _suggest_model(client: TogetherClient, model: str) -> str:
    try:
        names = [live.id for live in list_models(client)]
    except ProviderError:
        names = []
    near = difflib.get_close_matches(model, names, 3, 0.5)
    also = f"Did you mean {' or '.join(near)}? " if near else ""
    return f"{also}See what it fine-tunes: ftwizard doctor --provider together"
