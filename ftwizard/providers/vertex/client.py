"""Requests to Vertex AI and Cloud Storage by their SDKs: who asks, where, and what is tried again.

Project, location, address and credentials are passed to the SDKs explicitly: with a base URL and without
arguments, google-genai drops project, location and login without a word.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import google.auth
import google.auth.transport.requests
from google import genai
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.genai import types

from ftwizard.hosted_platforms import PLATFORMS
from ftwizard.plan.schema import Plan
from ftwizard.providers.access import check_address, hide_secrets, make_client
from ftwizard.providers.base import ProviderError
from ftwizard.providers.vertex import errors
from ftwizard.text import make_visible

DEFAULT_ADDRESS = "https://aiplatform.googleapis.com"
ADDRESS_VARIABLE = PLATFORMS["vertex"].address_variable
EMULATOR_VARIABLE = "STORAGE_EMULATOR_HOST"
PROJECT_VARIABLES = ("GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT")
LOCATION_VARIABLE = "GOOGLE_CLOUD_LOCATION"
QUOTA_VARIABLE = "GOOGLE_CLOUD_QUOTA_PROJECT"
CREDENTIALS_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
API_VERSION = "v1beta1"
TIMEOUT_S = 60.0
TRIES = 4
"""Tries of a request that only reads."""
FIRST_WAIT_S, MAX_WAIT_S = 1.0, 20.0
"""Wait before a request is tried again, doubled each time."""
EXPIRED = "access_token_expired"
_PROJECT = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9.:-]*")
_LOCATION = re.compile(r"[a-z][a-z0-9-]*")
_Answer = TypeVar("_Answer")


class DefaultLogin(NamedTuple):
    """Application default credentials, with the project that they name."""

    credentials: Any
    project: str | None


class VertexClient:
    """The SDKs with an account, one client for each location.

    The platform derives from it, and has the functions that take one as its methods.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Read the variables of the SDKs; raise ProviderError if one cannot be used.

        The credentials are only looked for when they are needed: that may take seconds.
        """
        self.environment = os.environ if environment is None else environment
        self._address = self.get_variable(ADDRESS_VARIABLE).rstrip("/")
        if self._address:
            check_address(self._address, "vertex")
        self.emulator = _with_scheme(self.get_variable(EMULATOR_VARIABLE).rstrip("/"))
        if self.emulator and not self._address:
            raise ProviderError(
                "rejected",
                f"{EMULATOR_VARIABLE} is set, so the rows would go to an emulator, where the jobs of"
                " Google do not find them.",
                f"Remove it: unset {EMULATOR_VARIABLE}",
                code="emulator",
            )
        self.endpoint = hide_secrets(self._address or DEFAULT_ADDRESS)
        self.account = errors.Account(
            self.endpoint, self.emulator, has_file=bool(self.get_variable(CREDENTIALS_VARIABLE))
        )
        self._clients: dict[tuple[str, str], genai.Client] = {}

    def get_variable(self, variable: str) -> str:
        """Return an environment variable; empty if it is not set."""
        return self.environment.get(variable, "").strip()

    @functools.cached_property
    def login(self) -> DefaultLogin:
        """Return the credentials; raise ProviderError (``key``) if there are none."""
        path = self.get_variable(CREDENTIALS_VARIABLE)
        with self.guard("find the credentials"), errors.explain_file(path):
            if path:
                credentials, project = google.auth.load_credentials_from_file(  # type: ignore[no-untyped-call]
                    path, SCOPES, quota_project_id=self.get_variable(QUOTA_VARIABLE) or None
                )
            else:
                credentials, project = google.auth.default(scopes=SCOPES)
        return DefaultLogin(credentials, project)

    def verify_login(self) -> None:
        """Ask for an access token, which proves the credentials and the clock."""
        request = google.auth.transport.requests.Request()
        self.read("log in", lambda: self.login.credentials.refresh(request))

    def describe_source(self) -> str:
        """Return where the credentials were found."""
        if self.get_variable(CREDENTIALS_VARIABLE):
            return CREDENTIALS_VARIABLE
        module = type(self.login.credentials).__module__
        if module.startswith("google.auth.compute_engine"):
            return "the metadata server of this machine"
        return "the login of gcloud (application default credentials)"

    @property
    def has_quota_project(self) -> bool:
        """Return whether requests are counted in a project; a personal login may have none."""
        credentials = self.login.credentials
        is_personal = type(credentials).__module__ == "google.oauth2.credentials"
        return not is_personal or bool(credentials.quota_project_id)

    def find_project(self, plan: Plan | None = None) -> str:
        """Return the project of a plan, of the environment, or of the credentials."""
        project = (plan.vertex.project if plan else None) or self.find_default_project()
        if project:
            return project
        raise ProviderError(
            "rejected", "No Google Cloud project is set.",
            "Set vertex.project in the plan, or export GOOGLE_CLOUD_PROJECT=PROJECT_ID.",
            code="no_project",
        )  # fmt: skip

    def find_default_project(self) -> str:
        """Return the project of the environment or of the credentials; empty if neither names one."""
        names = (self.get_variable(variable) for variable in PROJECT_VARIABLES)
        return next(filter(None, names), "") or str(self.login.project or "")

    def find_location(self, plan: Plan | None = None) -> str:
        """Return the location of a plan, or of the environment."""
        location = (plan.vertex.location if plan else None) or self.get_variable(LOCATION_VARIABLE)
        if location:
            return location
        raise ProviderError(
            "rejected", "No location is set for the job.",
            f"Set vertex.location in the plan, or export {LOCATION_VARIABLE}=us-central1.",
            code="no_location",
        )  # fmt: skip

    def connect(self, project: str, location: str) -> genai.Client:
        """Return the SDK for a location. It repeats nothing: a second request to create would make a
        second paid job if only the reply was lost."""
        require_place(project, location)
        key = (project, location)
        if key not in self._clients:
            credentials = self.login.credentials
            options = types.HttpOptions(
                timeout=int(TIMEOUT_S * 1000), api_version=API_VERSION,
                base_url=self._address or None,
            )  # fmt: skip
            self._clients[key] = make_client(
                lambda: genai.Client(
                    vertexai=True,
                    project=project,
                    location=location,
                    credentials=credentials,
                    http_options=options,
                )
            )
        return self._clients[key]

    @functools.cached_property
    def storage(self) -> storage.Client:
        """Return the SDK of Cloud Storage."""
        if not self.emulator:
            credentials = self.login.credentials
            return make_client(lambda: storage.Client(project=None, credentials=credentials))
        options = {"api_endpoint": self.emulator}
        anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
        return make_client(
            lambda: storage.Client(project=None, credentials=anonymous, client_options=options)
        )

    @contextlib.contextmanager
    def guard(self, action: str, *, creates: bool = False) -> Iterator[None]:
        """Turn each error of an SDK into a ProviderError; see ``errors.translate``.

        The SDKs warn of a login without a quota project, which is a caution here, of states that they
        do not know, and of tuning itself, which they call experimental.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except errors.CAUGHT as error:
            raise errors.translate(error, self.account, action, creates=creates) from None

    def call(
        self, action: str, request: Callable[[], _Answer], *, creates: bool = False
    ) -> _Answer:
        """Send a request once; raise ProviderError for every way in which it can fail."""
        with self.guard(action, creates=creates):
            return request()

    def _renew(self) -> None:
        request = google.auth.transport.requests.Request()
        self.call("log in", lambda: self.login.credentials.refresh(request))

    def read(self, action: str, request: Callable[[], _Answer]) -> _Answer:
        """Send a request that may be repeated, several times if the service does not answer.

        A token that Google ends early, or by a clock that differs from the one here, is replaced once.
        """
        is_renewed = False
        for attempt in range(TRIES):
            try:
                return self.call(action, request)
            except ProviderError as error:
                wait_s = error.retry_after_s or FIRST_WAIT_S * 2.0**attempt
                if attempt == TRIES - 1 or wait_s > MAX_WAIT_S:
                    raise
                if error.code == EXPIRED and not is_renewed:
                    is_renewed = True
                    self._renew()
                    continue
                if error.kind != "unreachable":
                    raise
                time.sleep(wait_s)
        raise AssertionError("unreachable")


def require_place(project: str, location: str) -> None:
    """Raise ProviderError for a project or a location that is not one.

    The location is part of the host that gets the token: a plan or a record from somebody else must
    not choose that host.
    """
    for name, value, pattern in (
        ("project", project, _PROJECT), ("location", location, _LOCATION),
    ):  # fmt: skip
        if not pattern.fullmatch(value):
            raise ProviderError(
                "rejected", f"{make_visible(value, 60)} is not a {name} of Google Cloud.",
                f"Correct vertex.{name} in the plan, or the id of the job.", code=name,
            )  # fmt: skip


def make_address(project: str, location: str) -> str:
    """Return the address of the models in a location, for what asks them by the SDK."""
    return f"vertex://{project}/{location}"


def _with_scheme(address: str) -> str:
    return address if not address or "://" in address else f"http://{address}"
