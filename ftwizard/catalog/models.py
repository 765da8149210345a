"""Hosted models that can be fine-tuned, with methods, limits and end dates; and refused models."""

from __future__ import annotations

import datetime
import difflib
import functools
import re
from typing import Literal

import msgspec

from ftwizard.catalog.paths import Lifecycle, PathId, PlatformId, catalog
from ftwizard.catalog.prices import Edition
from ftwizard.catalog.sourced import Sourced, asset
from ftwizard.data.target_names import TargetName
from ftwizard.data.targets import Target, target
from ftwizard.errors import FtwizardError
from ftwizard.figure import Day
from ftwizard.text import visible

Host = Literal["openai", "together", "vertex", "bedrock", "foundry"]
Tuning = Literal["supervised", "preference", "reinforcement"]
Weights = Literal["yes", "no", "unknown"]
_PREFIX = re.compile(r"^(?:ft:)?(?:(?:openai|azure|foundry|together|vertex|bedrock)/)?")
_DATE = re.compile(r"-20\d\d-\d\d-\d\d$")
PLATFORM_NAMES: dict[Host, str] = {
    "openai": "OpenAI", "together": "Together", "vertex": "Vertex", "bedrock": "Bedrock",
    "foundry": "Foundry",
}  # fmt: skip


class Since(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a platform started to offer fine-tuning of a model."""

    date: str
    """A day, or a month: ``2024-08-20``, ``2026-02``."""
    source: str


class HostedModel(Sourced, frozen=True, kw_only=True):
    """One model on one platform."""

    platform: Host
    id: str
    name: str
    api: str | None = None
    """The platform's own id, if a source gives it."""
    closed: bool = False
    """Whether its weights are never released."""
    targets: dict[Tuning, TargetName]
    """Data rules by method."""
    prices: tuple[str, ...] = ()
    """Models of assets/prices.toml that it is priced as, after its own id."""
    since: Since | None = None
    """None if unknown."""
    editions: tuple[Edition, ...]
    recommended: bool = False
    """Whether to try it first on this platform."""
    advice: str = ""
    billions: float | None = None
    """Parameters in billions, if published."""

    @property
    def path(self) -> PathId:
        """Return the provider group of its platform."""
        return "openai" if self.platform == "openai" else "cloud"

    @property
    def methods(self) -> tuple[Tuning, ...]:
        """Return the supported methods."""
        return tuple(self.targets)

    @property
    def priced_as(self) -> tuple[str, ...]:
        """Return the names to look up prices under; the first with a price counts."""
        return (self.id, *self.prices)

    def limits(self, method: Tuning) -> Target:
        """Return the data rules of a method: tokens per row, rows, bytes.

        Raises KeyError for an unsupported method.
        """
        return target(self.targets[method])

    def weights(self) -> Weights:
        """Return whether the tuned weights can be downloaded."""
        if self.platform == "openai":
            found = catalog().path("openai").weights
            return "unknown" if found == "depends" else found
        found_ = catalog().platform(self.platform).weights
        if self.closed:
            return "no"
        return "yes" if found_ == "open models" else found_


class Refused(Sourced, frozen=True, kw_only=True):
    """Models that cannot be fine-tuned anywhere, although people ask for them."""

    ids: tuple[str, ...]
    reason: str
    alternative: str
    """Description of the alternatives."""
    instead: str
    """Id of the first alternative."""


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """The availability of a model on a given day."""

    tunable: bool
    why_not: str = ""
    since: Since | None = None
    """When the first jobs could be created; None if unknown."""
    until: Day | None = None
    """First day without new jobs; None if no end is announced."""
    ends: Day | None = None
    """The day the base model and its fine-tunes are shut down."""
    cautions: tuple[str, ...] = ()
    """Restrictions that apply to some organizations only."""


class _Models(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    models: tuple[HostedModel, ...]
    refused: tuple[Refused, ...]
    sources: dict[str, str]


def hosted(edition: Edition | None = None) -> tuple[HostedModel, ...]:
    """Return the models of an edition (None: all), in catalog order."""
    return tuple(one for one in _all().models if edition is None or edition in one.editions)


def find(name: str, platform: Host | None = None) -> HostedModel | None:
    """Look up a model by a typed name: ``gpt-4.1``, ``ft:gpt-4.1-2025-04-14``,
    ``vertex/llama-3.1-8b``; None if it is unknown."""
    bare = _bare(name)
    prefix, slash, _ = name.strip().lower().removeprefix("ft:").partition("/")
    wanted = platform or (prefix if slash and prefix in PLATFORM_NAMES else None)
    for one in _all().models:
        if wanted in (None, one.platform) and bare in (one.id, (one.api or one.id).lower()):
            return one
    return None


def nearest(name: str) -> str | None:
    """Return the known name nearest to ``name``, None if none is near."""
    names = dict.fromkeys([*(model.id for model in _all().models), *_refused_ids()])
    near = difflib.get_close_matches(_bare(name), names, 1, 0.75)
    return near[0] if near else None


def refuse(name: str, today: datetime.date) -> None:
    """Raise FtwizardError, with an alternative, for a model that cannot be fine-tuned anywhere."""
    bare = _bare(name)
    for one in _all().refused:
        if bare in one.ids:
            raise FtwizardError(
                f"{visible(bare, 60)} {one.reason} (as of {one.as_of}).", _alternative(one, today)
            )


def _alternative(refused: Refused, today: datetime.date) -> str:
    """Suggest an alternative, and how long it can still be fine-tuned."""
    first = next(one for one in _all().models if one.id == refused.instead)
    known = life(first, today)
    if not known.tunable:
        return f"{first.name} was the alternative. {known.why_not}"
    hint = f"Use {refused.alternative}."
    until = known.until
    return f"{hint} No new jobs from {until.date} {until.said}." if until else hint


def life(model: HostedModel, today: datetime.date) -> Life:
    """Return the availability of ``model`` on ``today``."""
    ends = [one for one in catalog().lifecycles if _concerns(one, model)]
    shutdown = min((one for one in ends if one.what == "models"), key=_day, default=None)
    jobs = min((one for one in ends if one.what == "jobs"), key=_day, default=None)
    closing = [one for one in (shutdown, jobs) if one]
    over = next((one for one in sorted(closing, key=_day) if one.date <= today), None)
    partly = (one for one in ends if one.what in ("newcomers", "inactive") and one.date <= today)
    return Life(
        tunable=over is None,
        why_not=f"{_since(over)} {_instead(model, today)}" if over else "",
        since=model.since,
        until=_announced(min(closing, key=_day, default=None)),
        ends=_announced(shutdown),
        cautions=tuple(_since(one) for one in partly) if not over else (),
    )


def _since(one: Lifecycle) -> str:
    day = _announced(one)
    return f"Since {one.date}: {one.text.rstrip('.')} {day.said}." if day else ""


def _announced(one: Lifecycle | None) -> Day | None:
    return Day(date=one.date, source=one.source, as_of=one.as_of) if one else None


def tunable(model: HostedModel, today: datetime.date) -> bool:
    """Return whether a job on ``model`` can still be created on ``today``."""
    return life(model, today).tunable


def _instead(model: HostedModel, today: datetime.date) -> str:
    """Suggest the same model on another platform, else this platform's recommended model."""
    for one in _all().models:
        if one.id == model.id and one.platform != model.platform and _is_open(one, today):
            return f"Alternative: the same model at {PLATFORM_NAMES[one.platform]}."
    for one in _all().models:
        if one.platform == model.platform and one.recommended and _is_open(one, today):
            return f"Alternative: {one.name}."
    return "Alternative: an open model, at Together or on your own machine."


def _is_open(model: HostedModel, today: datetime.date) -> bool:
    return all(
        one.date > today
        for one in catalog().lifecycles
        if one.what in ("models", "jobs") and _concerns(one, model)
    )


def _concerns(end: Lifecycle, model: HostedModel) -> bool:
    platform: PlatformId | None = None if model.platform == "openai" else model.platform
    if (end.path, end.platform) != (model.path, platform):
        return False
    return end.what != "models" or model.id in end.models


def _day(one: Lifecycle) -> datetime.date:
    return one.date


def _bare(name: str) -> str:
    """Strip the platform prefix and the snapshot date from a name."""
    lower = name.strip().lower()
    bare = _PREFIX.sub("", lower)
    known = {(one.api or "").lower() for one in _all().models}
    return bare if bare in known else _DATE.sub("", bare)


def _refused_ids() -> list[str]:
    return [name for one in _all().refused for name in one.ids]


@functools.cache
def _all() -> _Models:
    return asset("models.toml", _Models)
