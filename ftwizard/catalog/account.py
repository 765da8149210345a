"""What an account at a hosted platform may train: the document of ``ftwizard doctor --provider``."""

from __future__ import annotations

import msgspec

from ftwizard.catalog.hosted_models import Tuning
from ftwizard.hosted_platforms import HostedProvider
from ftwizard.kept_keys import KeySource


class AccountModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model of the platform, as this account can have it."""

    id: str
    """The platform's own id."""
    name: str
    tunable: bool
    methods: tuple[Tuning, ...]
    shutdown: str | None = None
    """Day on which the model and what was tuned from it are shut down; live where possible."""
    until: str | None = None
    """First day without new jobs."""
    recommended: bool = False
    regions: tuple[str, ...] = ()
    """Regions that train it; empty if that does not depend on the model."""
    note: str = ""
    """Why it cannot be tuned, else advice."""


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """The credentials that the SDK of a platform found by itself; never a secret of them."""

    source: str
    """Where it found them: ``profile work``, ``GOOGLE_APPLICATION_CREDENTIALS``."""
    caller: str = ""
    """Whose they are: an ARN, or an address."""
    account: str = ""
    """The account or the project that is billed."""
    region: str = ""
    """Where jobs run unless a plan says otherwise; empty if nothing here says so."""


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """A dated end of the service, which concerns every model."""

    date: str
    """``2027-01-06``."""
    has_passed: bool
    text: str
    source: str
    as_of: str

    @property
    def when(self) -> str:
        """Return since or from when: ``from 2027-01-06``."""
        return f"{'since' if self.has_passed else 'from'} {self.date}"


class Alternative(msgspec.Struct, frozen=True, kw_only=True):
    """Where else to train."""

    provider: str
    """The value of ``provider`` in a plan."""
    name: str
    """For a person: ``GPT-4.1-mini at Microsoft Foundry``."""
    model: str = ""
    """The model there; empty on this machine."""


class AccountReport(msgspec.Struct, frozen=True, kw_only=True):
    """The document of ``ftwizard doctor --provider``."""

    provider: HostedProvider
    name: str
    ready: bool
    """Whether a job could be started."""
    key: KeySource | None
    """None if there is no key."""
    login: Login | None = None
    """None if the platform has a key, or if no valid credentials were found."""
    endpoint: str = ""
    """Base address of the API."""
    models: tuple[AccountModel, ...] = ()
    closing: tuple[Ending, ...] = ()
    """Ends of the service, soonest first."""
    cautions: tuple[str, ...] = ()
    error: str | None = None
    """Why no job could be started."""
    hint: str = ""
    cause: str = ""
    """The kind of the error, as in ``ProviderError``; empty if there is none."""
    code: str = ""
    alternatives: tuple[Alternative, ...] = ()
    """Nearest first, where the service itself is what is missing."""
