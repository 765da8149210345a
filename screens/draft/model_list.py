"""The list of models for a draft: judged for its machine, rows and answers, and searched."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import cast

from ftwizard import user_paths
from ftwizard.advice import model_choice, model_choice_text, model_search
from ftwizard.advice.model_choice import ChoiceBasis, ModelOption
from ftwizard.advice.questions import BY_ID
from ftwizard.catalog.providers import Size
from ftwizard.errors import FtwizardError
from ftwizard.models import hub, model_facts
from ftwizard.models.model_facts import ModelFacts
from ftwizard.screens.draft import setting_values
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.draft.suggestions import Suggest, build_path_suggester

MAX_INLINE = 6
"""Suggestions below the field; the list has all of them."""
MAX_FOLDERS = 60
"""Folders of which the configuration is read."""
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_last: tuple[ChoiceBasis, tuple[ModelFacts, ...], tuple[ModelOption, ...]] | None = None


def build_basis(draft: Draft, *, is_hub_away: bool = False) -> ChoiceBasis:
    """Return what the choice of a model depends on; ``is_hub_away``: the Hub did not answer."""
    question = BY_ID["size"]
    answer = draft.answers.get(question.id)
    has_answered = answer is not None and answer != question.assumed
    sizes = [option.id for option in question.options]
    return ChoiceBasis(
        machine=draft.hardware, plan=draft.plan, chosen=draft.touched, report=draft.checked,
        rows=setting_values.count_trained_rows(draft), 
        can_download=not (is_hub_away or hub.is_offline()),
        size=cast(Size, answer) if has_answered and answer in sizes else None,
    )  # fmt: skip


def list_options(
    draft: Draft, others: Iterable[ModelFacts] = (), *, is_hub_away: bool = False
) -> tuple[ModelOption, ...]:
    """List the known models and ``others`` for a draft, best first; remembers the last result."""
    global _last
    basis = build_basis(draft, is_hub_away=is_hub_away)
    models = model_facts.merge_models((*model_facts.list_known_models(), *others))
    if _last is None or _last[:2] != (basis, models):
        _last = basis, models, model_choice.list_options(models, basis)
    return _last[2]


def search(
    draft: Draft, typed: str, others: Iterable[ModelFacts] = (), *, is_hub_away: bool = False
) -> list[ModelOption]:
    """Return the models that match what was typed: folders once it is a path."""
    if is_path(typed):
        return list_folders(draft, typed)
    return list(
        model_search.search_options(list_options(draft, others, is_hub_away=is_hub_away), typed)
    )


def is_path(typed: str) -> bool:
    """Return whether a path is being typed, not a name."""
    return typed.startswith((".", "~", "/"))


def is_search(draft: Draft, typed: str) -> bool:
    """Return whether this is part of a name, such as ``70b``, rather than a model."""
    if not typed or "/" in typed or hub.is_folder(typed):
        return False
    names = {option.name for option in search(draft, typed)}
    return bool(names) and typed not in names


def is_hub_id(typed: str) -> bool:
    """Return whether this can be the id of a model on the Hub."""
    return _HUB_ID.fullmatch(typed) is not None


def list_folders(draft: Draft, typed: str) -> list[ModelOption]:
    """Return the folders that complete a path; those without a model are of unknown size.

    A name that ends in a slash is a folder to descend into, any other is a model.
    """
    names = [name for name, _, _ in _suggest_folders(typed)]
    facts: list[ModelFacts] = []
    if typed.endswith("/"):
        names.insert(0, typed)
    for index, name in enumerate(names):
        model = _read_model(name) if index < MAX_FOLDERS else None
        if model is not None or name != typed:
            facts.append(model or ModelFacts(name=name, origin="folder"))
    judged = {
        option.name: option for option in model_choice.list_options(facts, build_basis(draft))
    }
    return [judged[model.name] for model in facts]


def build_suggester(draft: Draft, *, is_hub_away: bool = False) -> Suggest:
    """Build a suggester of models for a field: the best matches, each with a note."""

    def suggest(typed: str) -> Sequence[tuple[str, str, str]]:
        if is_path(typed):
            return _suggest_folders(typed)
        options = search(draft, typed, is_hub_away=is_hub_away)[:MAX_INLINE]
        return [(option.name, _mark(option), describe_briefly(option)) for option in options]

    return suggest


def describe_briefly(option: ModelOption) -> str:
    """Describe a model in a few words: size, license, fit."""
    parts = [
        model_choice_text.format_parameters(option.parameters),
        model_choice_text.format_fit(option).text,
        "gated" if option.gated and not option.downloaded else "",
        option.license or "license unknown",
    ]
    return "  ".join(filter(None, parts))


def _mark(option: ModelOption) -> str:
    """Return the name, marked if it is recommended."""
    return f"{model_choice_text.RECOMMENDED} {option.name}" if option.recommended else option.name


def _suggest_folders(typed: str) -> Sequence[tuple[str, str, str]]:
    return build_path_suggester(_is_never_wanted)(typed)


def _is_never_wanted(entry: os.DirEntry[str]) -> bool:
    return False


def _read_model(name: str) -> ModelFacts | None:
    """Return the model in a typed folder, under the typed name without its last slash."""
    try:
        folder = user_paths.expand(name)
    except FtwizardError:
        return None
    facts = model_facts.read_folder(folder)
    if facts is None:
        return None
    return ModelFacts(
        name=name.rstrip("/") or "/", origin="folder", downloaded=facts.downloaded,
        parameters=facts.parameters, license=facts.license, gated=facts.gated,
        chat_template=facts.chat_template, config=facts.config, source=facts.source,
    )  # fmt: skip
