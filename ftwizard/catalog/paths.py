"""The paths to a fine-tuned model, their factors, and what ends when."""

from __future__ import annotations

import datetime
import functools
from typing import Literal

import msgspec

from ftwizard.catalog.prices import mark
from ftwizard.catalog.sourced import Sourced, asset
from ftwizard.figure import Figure

PathId = Literal["openai", "local", "cloud"]
PlatformId = Literal["vertex", "bedrock", "foundry", "together"]
Factor = Literal["ownership", "setup", "cost", "inference", "best_for", "data"]
Size = Literal["tiny", "small", "medium", "large"]


class Claim(Sourced, frozen=True, kw_only=True):
    """A statement of one date and source, with or without a sum of money."""

    text: str = ""
    low: float | None = None
    """US dollars per ``unit``; None where it is not known."""
    high: float | None = None
    """US dollars per ``unit``; None beside a ``low``: from there up."""
    unit: str = ""

    @property
    def price(self) -> Figure | None:
        """Return the sum of money, in US dollars per ``unit``; None where it is not known."""
        if self.low is None:
            return None
        return Figure(
            value=self.low if self.high is None else (self.low + self.high) / 2,
            unit=f"USD per {self.unit}", low=self.low, high=self.high,
            source=self.source, as_of=self.as_of,
        )  # fmt: skip

    @property
    def words(self) -> str:
        """Return it as a person reads it: ``$0.80–3 per million tokens``."""
        price = self.price
        if price is None or price.low is None:
            return self.text
        upto = "+" if price.high is None else ""
        if price.high is not None and price.high != price.low:
            upto = f"–{_money(price.high)}"
        words = f"${_money(price.low)}{upto} {price.unit.removeprefix('USD ')}"
        return f"{words} ({self.text})" if self.text else words

    def date(self, today: datetime.date) -> str:
        """Return the month or day that it is of, with a ``!`` where it is a price that is old."""
        return f"{self.as_of}{mark(self.as_of, today) if self.low is not None else ''}"


Claims = tuple[Claim, ...]


class Platform(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One service of the cloud-managed path."""

    id: PlatformId
    name: str
    cloud: Literal["gcp", "aws", "azure"] | None = None
    """The cloud whose account it needs; None: an account of its own."""
    weights: Literal["yes", "no", "open models", "unknown"]
    """Whether one can take the resulting weights away."""
    own_account: bool
    """Whether the rows stay in the user's own cloud account."""
    models: Claims
    """What it tunes."""
    special: Claims
    factors: dict[Factor, Claims]
    """Where it differs from the path."""


class TrainingPath(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to a fine-tuned model."""

    id: PathId
    name: str
    summary: str
    available: bool
    """Whether ftwizard can start its jobs."""
    unavailable: str = ""
    """Why it cannot."""
    weights: Literal["yes", "no", "depends"]
    factors: dict[Factor, Claims]
    platforms: tuple[Platform, ...] = ()

    def claims(self, factor: Factor, platform: PlatformId | None = None) -> Claims:
        """Return what is said of a factor, newest first; a platform's own word goes first."""
        for one in self.platforms:
            if one.id == platform and factor in one.factors:
                return _newest_first(one.factors[factor])
        return _newest_first(self.factors[factor])


class Need(Sourced, frozen=True, kw_only=True):
    """The GPU memory that QLoRA of a model of this size needs."""

    size: Size
    label: str
    gpu_memory: int
    """GB (powers of ten) of one GPU, short rows and small batches."""
    processors: bool = False
    """Whether training without a GPU is bearable."""

    @property
    def memory(self) -> Figure:
        """Return the memory of one GPU, in bytes."""
        return Figure(
            value=self.gpu_memory * 10**9, unit="bytes", source=self.source, as_of=self.as_of
        )

    @property
    def words(self) -> str:
        """Return the memory as a person reads it: ``16 GB``."""
        return f"{self.memory.value / 1e9:.0f} GB"


class Lifecycle(Sourced, frozen=True, kw_only=True):
    """Something that ends, or has ended, on a day."""

    path: PathId
    platform: PlatformId | None = None
    what: Literal["newcomers", "inactive", "jobs", "models"]
    """Who or what it ends for: new or idle organisations, all new jobs, or ``models``."""
    models: tuple[str, ...] = ()
    date: datetime.date
    text: str


class Catalog(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything in ``assets/paths.toml``; sources are spelled out."""

    factors: dict[Factor, str]
    """Each factor's label, in the article's order."""
    paths: tuple[TrainingPath, ...]
    needs: tuple[Need, ...]
    lifecycles: tuple[Lifecycle, ...]
    sources: dict[str, str]

    def path(self, path: PathId) -> TrainingPath:
        """Return a path by its id."""
        return next(one for one in self.paths if one.id == path)

    def platform(self, platform: PlatformId) -> Platform:
        """Return a platform of the cloud-managed path by its id."""
        return next(one for one in self.path("cloud").platforms if one.id == platform)

    def need(self, size: Size) -> Need:
        """Return what a model of this size needs."""
        return next(one for one in self.needs if one.size == size)


@functools.cache
def catalog() -> Catalog:
    """Return the packaged catalogue; read once."""
    return asset("paths.toml", Catalog)


def _newest_first(claims: Claims) -> Claims:
    return tuple(sorted(claims, key=lambda one: one.as_of, reverse=True))


def _money(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:.2f}"
