"""What an account at a hosted platform may train, looked up live, without starting anything."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator, Mapping

import msgspec

from ftwizard import kept_keys
from ftwizard.catalog import hosted_models
from ftwizard.catalog.account import AccountModel, AccountReport, Alternative, Ending
from ftwizard.catalog.hosted_models import HostedModel, Tuning
from ftwizard.catalog.providers import catalog
from ftwizard.hosted_platforms import PLATFORMS, HostedProvider
from ftwizard.plan.platforms.model_limits import join_words
from ftwizard.plan.schema import TARGETS, Data, Files, Model, Plan, Split
from ftwizard.providers import platforms
from ftwizard.providers.base import PLAN_SETTING, LiveModel, Platform, ProviderError
from ftwizard.text import make_visible

_UNLISTED = "This account does not list it."
_GRADER = {
    "type": "string_check", "name": "exact", "operation": "eq",
    "input": "{{sample.output_text}}", "reference": "{{item.reference}}",
}  # fmt: skip
"""A grader that every platform accepts, for the check of a model that is only tuned with one."""


def inspect_account(
    provider: HostedProvider, model: str = "", environment: Mapping[str, str] | None = None
) -> AccountReport:
    """Look up what the account of the key may train; ``model``: check this one, not the usual one.

    Nothing is created at the platform. Raises MissingExtra without its SDK.
    """
    environment = os.environ if environment is None else environment
    report = AccountReport(
        provider=provider, name=PLATFORMS[provider].name, ready=False, key=None,
        closing=tuple(list_closing(provider)),
    )  # fmt: skip
    try:
        report = msgspec.structs.replace(report, key=kept_keys.find_key(provider, environment))
        platform = platforms.get_platform(provider, environment)
        report = msgspec.structs.replace(report, endpoint=make_visible(platform.endpoint, 200))
        report = msgspec.structs.replace(report, login=platform.find_login())
        region = report.login.region if report.login else ""
        models, cautions = _list_models(platform, region)
        report = msgspec.structs.replace(report, models=models, cautions=tuple(cautions))
        chosen = _choose(report, model)
        plan, more = _make_plan(provider, chosen, region)
        more += [*platform.describe_account(), *_check_plan(platform, plan)]
    except ProviderError as error:
        return _with_error(report, error, model)
    hosted = hosted_models.find_listed(chosen.id, provider)
    dated = (
        hosted_models.check_deprecation(hosted, datetime.date.today()).cautions if hosted else ()
    )
    cautions = [text for text in dict.fromkeys([*report.cautions, *more]) if text not in dated]
    return msgspec.structs.replace(report, ready=True, cautions=tuple(cautions))


def _check_plan(platform: Platform, plan: Plan) -> list[str]:
    """Check a plan that has no bucket and no role, which only the user's own one can name."""
    try:
        return platform.check_plan(plan)
    except ProviderError as error:
        if error.code != PLAN_SETTING:
            raise
        return [*error.cautions, f"A plan needs more settings. {error.hint}"]


def list_closing(provider: HostedProvider) -> Iterator[Ending]:
    """Yield what ended or ends at a platform for every model, soonest first."""
    today = datetime.date.today()
    ends = [
        end for end in catalog().lifecycles
        if (end.platform or end.provider) == provider and end.what != "models"
    ]  # fmt: skip
    for end in sorted(ends, key=lambda end: end.date):
        yield Ending(
            date=str(end.date), has_passed=end.date <= today, text=end.text, source=end.source,
            as_of=end.as_of,
        )  # fmt: skip


def _with_error(report: AccountReport, error: ProviderError, model: str) -> AccountReport:
    alternatives: tuple[Alternative, ...] = ()
    if error.kind in ("closed", "missing", "permission", "quota"):
        name = model or next((each.id for each in report.models if each.recommended), "")
        alternatives = tuple(list_alternatives(name, report.provider))
    return msgspec.structs.replace(
        report, error=error.message, hint=error.hint, cause=error.kind, code=error.code,
        alternatives=alternatives,
        cautions=tuple(dict.fromkeys([*report.cautions, *error.cautions])),
    )  # fmt: skip


def list_alternatives(model: str, provider: HostedProvider) -> Iterator[Alternative]:
    """Yield where else to train, nearest first: the same model elsewhere, an open one, this machine."""
    today = datetime.date.today()
    for hosted in hosted_models.find_alternatives(model, provider, today):
        name = PLATFORMS[hosted.platform].name
        yield Alternative(
            provider=hosted.platform, name=f"{hosted.name} at {name}", model=hosted.api or hosted.id
        )
    yield Alternative(provider="local", name="an open model on this machine")


def _choose(report: AccountReport, model: str) -> AccountModel:
    """Return the model to check; raise ProviderError if it cannot be tuned."""
    tunable = [each for each in report.models if each.tunable]
    if not model:
        tunable.sort(key=lambda each: (not each.recommended, "supervised" not in each.methods))
        if tunable:
            return tunable[0]
        raise ProviderError(
            "missing",
            f"This account at {report.name} lists no model that can be fine-tuned.",
            "Use another account, or train elsewhere.",
            code="no_model",
        )
    hosted = hosted_models.find_listed(model, report.provider)
    for each in report.models:
        is_same = hosted is not None and hosted == hosted_models.find_listed(
            each.id, report.provider
        )
        if each.id != model and not is_same:
            continue
        if each.tunable:
            return each
        raise ProviderError(
            "missing",
            f"{report.name} does not fine-tune {each.name}. {each.note}".strip(),
            _name_tunable(tunable),
            code="not_tunable",
        )
    # It may exist without being listed: the platform is asked.
    methods: tuple[Tuning, ...] = hosted.methods if hosted else ("supervised",)
    return AccountModel(id=model, name=model, tunable=True, methods=methods)


def _name_tunable(tunable: list[AccountModel]) -> str:
    names = ", ".join(each.id for each in tunable[:5])
    return f"This account can fine-tune: {names}." if names else "Use another account."


def _make_plan(
    provider: HostedProvider, model: AccountModel, region: str
) -> tuple[Plan, list[str]]:
    """Return a plan that is only checked, with the model's first method, and cautions about it.

    ``region``: the one of this environment. Where the model is not trained there, the plan names one
    where it is.
    """
    data = Data(files=Files(train="rows.jsonl"), split=Split(validation=0.1))
    plan = Plan(provider=provider, data=data, model=Model(name=model.id))
    settings = plan.platform_settings
    cautions: list[str] = []
    changes: dict[str, object] = {}
    methods = {hosted_models.get_tuning(target): own for own, target in TARGETS[provider].items()}
    if model.methods and "supervised" not in model.methods and model.methods[0] in methods:
        changes[settings.METHOD] = methods[model.methods[0]]
        if model.methods[0] == "reinforcement" and provider in ("openai", "foundry"):
            changes["grader"] = _GRADER
    if settings.REGION and model.regions and region not in model.regions:
        changes[settings.REGION] = model.regions[0]
        cautions.append(
            f"{model.name} is trained in {join_words(model.regions)}, and"
            f" {f'your region is {make_visible(region, 40)}' if region else 'you have no region'}. Set"
            f" {provider}.{settings.REGION} in the plan; the bucket must be there, too."
        )
    changed = msgspec.structs.replace(settings, **changes)
    return msgspec.structs.replace(plan, **{provider: changed}), cautions


def _list_models(platform: Platform, region: str) -> tuple[tuple[AccountModel, ...], list[str]]:
    """Return the models that matter for fine-tuning, and cautions.

    ``region``: the one that the platform was asked in; models of others are not in its list.
    """
    cautions: list[str] = []
    live: dict[str, LiveModel] | None = None
    try:
        live = {model.id: model for model in platform.list_models()}
    except ProviderError as error:
        if error.kind != "permission":
            raise
        cautions.append(f"The models of this account are not listed: {error.message}")
    rows = list(_join(platform.id, live, region))
    order = [
        model.id for model in hosted_models.list_hosted_models() if model.platform == platform.id
    ]
    rank = {id: number for number, id in enumerate(order)}

    def key(row: AccountModel) -> tuple[bool, bool, int, str]:
        hosted = hosted_models.find_listed(row.id, platform.id)
        position = rank[hosted.id] if hosted else len(rank)
        return not row.tunable, not row.recommended, position, row.id.lower()

    return tuple(sorted(rows, key=key)), cautions


def _join(
    provider: HostedProvider, live: Mapping[str, LiveModel] | None, region: str
) -> Iterator[AccountModel]:
    """Yield the catalog's models as the account lists them, then those that only it lists."""
    today = datetime.date.today()
    used: set[str] = set()
    for hosted in hosted_models.list_hosted_models("current"):
        if hosted.platform != provider:
            continue
        listed = [
            model for model in (live or {}).values()
            if hosted_models.find_listed(model.id, provider) == hosted
        ]  # fmt: skip
        used.update(model.id for model in listed)
        # A dated id is the one that jobs name; an alias may move.
        best = max(
            listed,
            key=lambda model: (model.id == hosted.api, model.tunable is True, len(model.id)),
            default=None,
        )
        if best or hosted.api or live is None:
            is_here = not hosted.regions or region in hosted.regions
            yield _describe_hosted(hosted, best, today, is_listed=live is not None and is_here)
    for model in (live or {}).values():
        if model.id not in used and model.tunable:
            is_over = model.shutdown is not None and model.shutdown <= str(today)
            yield AccountModel(
                id=model.id, name=model.id, tunable=not is_over,
                methods=("supervised", "preference") if provider == "together" else ("supervised",),
                shutdown=model.shutdown,
            )  # fmt: skip


def _describe_hosted(
    hosted: HostedModel, live: LiveModel | None, today: datetime.date, *, is_listed: bool
) -> AccountModel:
    lifecycle = hosted_models.check_deprecation(hosted, today)
    shutdown = live.shutdown if live else None
    shutdown = shutdown or (str(lifecycle.ends.date) if lifecycle.ends else None)
    note = hosted.advice
    if not lifecycle.tunable:
        note = lifecycle.why_not
    elif shutdown and shutdown <= str(today):
        note = f"It was shut down on {shutdown}."
    elif is_listed and live is None:
        note = _UNLISTED
    elif live and live.tunable is False:
        note = "The platform does not offer it for fine-tuning."
    return AccountModel(
        id=live.id if live else hosted.api or hosted.id,
        name=hosted.name,
        tunable=note in ("", hosted.advice),
        methods=hosted.methods,
        shutdown=shutdown,
        until=str(lifecycle.until.date) if lifecycle.until else None,
        recommended=hosted.recommended,
        regions=hosted.regions,
        note=note,
    )
