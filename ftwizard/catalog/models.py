"""Models that platforms tune: by which methods, under which limits, until when; and those they refuse."""

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
    """When a platform began to tune a model."""

    date: str
    """A day, or a month: ``2024-08-20``, ``2026-02``."""
    source: str


class HostedModel(Sourced, frozen=True, kw_only=True):
    """One model on one platform."""

    platform: Host
    id: str
    name: str
    api: str | None = None
    """The platform's own id, where a source spells it out."""
    closed: bool = False
    """Its weights are never handed out."""
    targets: dict[Tuning, TargetName]
    """Method → the rules that rows are checked by."""
    prices: tuple[str, ...] = ()
    """Models of assets/prices.toml that it is priced as, after its own id."""
    since: Since | None = None
    """None where it is not known."""
    editions: tuple[Edition, ...]
    recommended: bool = False
    """The first one to try on this platform."""
    advice: str = ""
    billions: float | None = None
    """Of parameters, where they are published."""

    @property
    def path(self) -> PathId:
        """Return the path that it lies on."""
        return "openai" if self.platform == "openai" else "cloud"

    @property
    def methods(self) -> tuple[Tuning, ...]:
        """Return how it can be tuned."""
        return tuple(self.targets)

    @property
    def priced_as(self) -> tuple[str, ...]:
        """Return the names that its prices stand under, the first that has one counts."""
        return (self.id, *self.prices)

    def limits(self, method: Tuning) -> Target:
        """Return the rules of a method: tokens a row, rows, bytes; KeyError for another method."""
        return target(self.targets[method])

    def weights(self) -> Weights:
        """Say whether the tuned weights can be taken away."""
        if self.platform == "openai":
            found = catalog().path("openai").weights
            return "unknown" if found == "depends" else found
        found_ = catalog().platform(self.platform).weights
        if self.closed:
            return "no"
        return "yes" if found_ == "open models" else found_


class Refused(Sourced, frozen=True, kw_only=True):
    """Models that are asked for and cannot be tuned anywhere."""

    ids: tuple[str, ...]
    reason: str
    alternative: str
    """In words."""
    instead: str
    """The first of them."""


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a model can be tuned on a day, since when and until when."""

    tunable: bool
    why_not: str = ""
    since: Since | None = None
    """When its first jobs could be created; None where it is not known."""
    until: Day | None = None
    """From this day on no job can be created; None where no end is announced."""
    ends: Day | None = None
    """The day on which the base model and its fine-tunes are shut down."""
    cautions: tuple[str, ...] = ()
    """Ends that concern some organisations only."""


class _Models(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    models: tuple[HostedModel, ...]
    refused: tuple[Refused, ...]
    sources: dict[str, str]


def hosted(edition: Edition | None = None) -> tuple[HostedModel, ...]:
    """Return the models of an edition (None: all), in the order of the catalogue."""
    return tuple(one for one in _all().models if edition is None or edition in one.editions)


def find(name: str, platform: Host | None = None) -> HostedModel | None:
    """Return the model of a name as it is typed: ``gpt-4.1``, ``ft:gpt-4.1-2025-04-14``,
    ``vertex/llama-3.1-8b``; None where none is known."""
    bare, said = _bare(name), name.strip().lower().removeprefix("ft:").partition("/")
    wanted = platform or (said[0] if said[1] and said[0] in PLATFORM_NAMES else None)
    for one in _all().models:
        if wanted in (None, one.platform) and bare in (one.id, (one.api or one.id).lower()):
            return one
    return None


def nearest(name: str) -> str | None:
    """Return the known name that is most like this one."""
    known = {one.id: one.id for one in _all().models} | {one: one for one in _refused_ids()}
    near = difflib.get_close_matches(_bare(name), known, 1, 0.75)
    return near[0] if near else None


def refuse(name: str, today: datetime.date) -> None:
    """Raise FtwizardError for a model that cannot be tuned anywhere: why, and what to take."""
    bare = _bare(name)
    for one in _all().refused:
        if bare in one.ids:
            raise FtwizardError(
                f"{visible(bare, 60)} {one.reason} (as of {one.as_of}).", _alternative(one, today)
            )


def _alternative(refused: Refused, today: datetime.date) -> str:
    """Name what to take in place of it, and how long that can still be tuned."""
    first = next(one for one in _all().models if one.id == refused.instead)
    known = life(first, today)
    if not known.tunable:
        return f"{first.name} was the alternative. {known.why_not}"
    hint = f"Use {refused.alternative}."
    until = known.until
    return f"{hint} No jobs on it from {until.date} on {until.said}." if until else hint


def life(model: HostedModel, today: datetime.date) -> Life:
    """Return whether ``model`` can be tuned on ``today``, and what ends when."""
    ends = [one for one in catalog().lifecycles if _concerns(one, model)]
    shutdown = min((one for one in ends if one.what == "models"), key=_day, default=None)
    jobs = min((one for one in ends if one.what == "jobs"), key=_day, default=None)
    closing = [one for one in (shutdown, jobs) if one]
    over = next((one for one in sorted(closing, key=_day) if one.date <= today), None)
    partly = (one for one in ends if one.what in ("newcomers", "inactive") and one.date <= today)
    said = min(closing, key=_day, default=None)
    return Life(
        tunable=over is None,
        why_not=f"{_since(over)} {_instead(model, today)}" if over else "",
        since=model.since,
        until=_announced(said),
        ends=_announced(shutdown),
        cautions=tuple(_since(one) for one in partly) if not over else (),
    )


def _since(one: Lifecycle) -> str:
    day = _announced(one)
    return f"Since {one.date}: {one.text.rstrip('.')} {day.said}." if day else ""


def _announced(one: Lifecycle | None) -> Day | None:
    return Day(date=one.date, source=one.source, as_of=one.as_of) if one else None


def tunable(model: HostedModel, today: datetime.date) -> bool:
    """Say whether a job on ``model`` can still be created on ``today``."""
    return life(model, today).tunable


def _instead(model: HostedModel, today: datetime.date) -> str:
    """Name the nearest that lives: the same model elsewhere, else this platform's first choice."""
    for one in _all().models:
        if one.id == model.id and one.platform != model.platform and _is_open(one, today):
            return f"Nearest: the same model at {PLATFORM_NAMES[one.platform]}."
    for one in _all().models:
        if one.platform == model.platform and one.recommended and _is_open(one, today):
            return f"Nearest: {one.name}."
    return "Nearest: an open model, at Together or on a machine of your own."


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
    """Return a name without who hosts it and without the date of a snapshot."""
    lower = name.strip().lower()
    bare = _PREFIX.sub("", lower)
    known = {(one.api or "").lower() for one in _all().models}
    return bare if bare in known else _DATE.sub("", bare)


def _refused_ids() -> list[str]:
    return [name for one in _all().refused for name in one.ids]


@functools.cache
def _all() -> _Models:
    return asset("models.toml", _Models)
