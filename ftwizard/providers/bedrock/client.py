"""Requests to AWS by boto3: whose credentials, which region, what is tried again, how each can fail."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from ftwizard import __version__
from ftwizard.catalog.hosted_models import list_hosted_models
from ftwizard.plan.schema import Plan
from ftwizard.providers.access import check_address, hide_secrets
from ftwizard.providers.base import ProviderError
from ftwizard.providers.bedrock import errors
from ftwizard.text import make_visible

MAX_ATTEMPTS = 4
"""Tries of a request that only reads; boto3 waits between them."""
TIMEOUT_S, CONNECT_S = 60.0, 10.0
MAX_PAGES = 1_000
ADDRESSES = "AWS_ENDPOINT_URL"
_SIGNED = ("bedrock", "bedrock-runtime")
"""Services that boto3 would rather ask with the key of AWS_BEARER_TOKEN_BEDROCK, which belongs to the
OpenAI-compatible address and may be of another account."""


class Caller(NamedTuple):
    """Whose credentials are used."""

    account: str
    """Twelve digits."""
    arn: str
    date: str | None
    """The clock of AWS, as its header ``Date`` says."""

    @property
    def partition(self) -> str:
        """Return ``aws``, or the name of a separate cloud such as ``aws-us-gov``."""
        parts = self.arn.split(":")
        return parts[1] if len(parts) > 1 and parts[1] else "aws"


class BedrockClient:
    """boto3 with the account of its credentials.

    Reading requests are repeated, creating ones are sent once. The platform derives from it, and has
    the functions that take one as its methods.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Read the variables of boto3; raise ProviderError if one cannot be used."""
        self._environment = os.environ if environment is None else environment
        self.account = errors.Account(self._environment)
        self._lock = threading.RLock()
        """A session of boto3 makes clients in one thread at a time; they can be used in all."""
        self._clients: dict[tuple[str, str, bool, float], Any] = {}
        self._caller: Caller | None = None
        self.job_regions: dict[str, str] = {}
        """Regions of jobs that were looked up, so that they are not searched for again."""
        with self._lock:
            self._session = self.guard("read the configuration of AWS", self._make_session)
            self.region, self.region_source = self._find_region()
        address = self.find_address("bedrock")
        self.endpoint = hide_secrets(
            address or f"https://bedrock.{self.region or list_regions()[0]}.amazonaws.com"
        )

    def _make_session(self) -> Any:
        """Return a session: of the process, or of the environment that it gets instead."""
        if self._environment is os.environ:
            return boto3.Session()
        read = self._environment.get
        key_id, secret = read("AWS_ACCESS_KEY_ID"), read("AWS_SECRET_ACCESS_KEY")
        if key_id and secret:
            token = read("AWS_SESSION_TOKEN")
            return boto3.Session(
                key_id, secret, token, region_name=self._find_variable()[0] or None
            )
        return boto3.Session(profile_name=read("AWS_DEFAULT_PROFILE") or read("AWS_PROFILE"))

    def _find_variable(self) -> tuple[str, str]:
        """Return the region of the environment, and the variable that has it."""
        for variable in ("AWS_DEFAULT_REGION", "AWS_REGION"):  # boto3 itself reads only the first
            if region := self._environment.get(variable, "").strip():
                return region, variable
        return "", ""

    def _find_region(self) -> tuple[str, str]:
        """Return the region that is configured, and where; both empty if none is."""
        region, variable = self._find_variable()
        if region:
            return region, variable
        region = self.guard("read the region", lambda: self._session.region_name) or ""
        return (
            (region, f"the profile {make_visible(self.account.profile, 60)}")
            if region
            else ("", "")
        )

    def describe_regions(self) -> list[str]:
        """Return a caution where the two variables of the region differ: programs of AWS disagree on
        which of them counts."""
        names = (self.region_source, "AWS_REGION")
        first, second = (self._environment.get(name, "").strip() for name in names)
        if not first or not second or first == second:
            return []
        caution = (
            f"{names[0]} is {make_visible(first, 40)}, and {names[1]} is {make_visible(second, 40)}."
            f" {names[0]} counts here, as in boto3. Unset one of them, or set bedrock.region in the plan."
        )
        return [caution]

    def find_address(self, service: str) -> str | None:
        """Return the address that the environment sets for a service; None for AWS's own.

        Raises ProviderError if it is not one of HTTP.
        """
        if self._environment.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
            return None
        own = f"{ADDRESSES}_{service.upper().replace('-', '_')}"
        values = (self._environment.get(name, "").strip() for name in (own, ADDRESSES))
        address = next(filter(None, values), None)
        if address is not None:
            check_address(address, "bedrock")
        return address

    def get_region(self, plan: Plan) -> str:
        """Return the region of a plan; raise ProviderError if neither it nor AWS's settings name one."""
        region = (plan.bedrock.region or self.region).strip()
        if not region:
            raise ProviderError(
                "rejected",
                "No region of AWS is set.",
                "Set bedrock.region in the plan, or AWS_DEFAULT_REGION: Nova is tuned in us-east-1,"
                " Llama in us-west-2.",
                code="no_region",
            )
        return region

    def connect(
        self, service: str, region: str, *, creates: bool = False, timeout_s: float = TIMEOUT_S
    ) -> Any:
        """Return the client of a service in a region; ``creates``: it sends each request once."""
        key = (service, region, creates, timeout_s)
        with self._lock:
            if key not in self._clients:
                config = Config(
                    connect_timeout=CONNECT_S,
                    read_timeout=timeout_s,
                    retries={
                        "mode": "standard", "total_max_attempts": 1 if creates else MAX_ATTEMPTS,
                    },
                    user_agent_extra=f"ftwizard/{__version__}",
                    signature_version="v4" if service in _SIGNED else None,
                )  # fmt: skip
                self._clients[key] = self.guard(
                    f"reach {service} of AWS",
                    lambda: self._session.client(
                        service, region_name=region, config=config,
                        endpoint_url=self.find_address(service),
                    ),
                )  # fmt: skip
            return self._clients[key]

    def guard(
        self, action: str, request: Callable[[], Any], *, creates: bool = False, model: str = ""
    ) -> Any:
        """Do something with boto3; raise ProviderError for every way in which it can fail."""
        try:
            return request()
        except (
            BotoCoreError, ClientError, Boto3Error, ResponseParserError, HTTPError, HTTPClientError,
        ) as error:  # fmt: skip
            if isinstance(error, ClientError):  # was signed: boto3 has the credentials at hand
                self.account.method = str(getattr(self._session.get_credentials(), "method", ""))
            raise errors.translate(
                error, self.account, action, creates=creates, model=model
            ) from None
        except (ValueError, AttributeError, KeyError):  # an answer of another form
            raise errors.unreadable(self.account, action, creates=creates) from None

    def call(
        self, action: str, request: Callable[[], Any], *, creates: bool = False, model: str = ""
    ) -> Mapping[str, Any]:
        """Send a request and return its answer; raise ProviderError as ``guard``."""
        answer = self.guard(action, request, creates=creates, model=model)
        if not isinstance(answer, Mapping):
            raise errors.unreadable(self.account, action, creates=creates)
        return answer

    def iterate(
        self, action: str, request: Callable[..., Any], items: str, token: str = "nextToken"
    ) -> Iterator[Mapping[str, Any]]:
        """Yield the items of a list, page by page; ``items`` and ``token`` are the names of its fields.

        It ends where a service returns a page for the second time.
        """
        tokens: set[str] = set()
        page = self.call(action, request)
        for _ in range(MAX_PAGES):
            listed = page.get(items)
            if not isinstance(listed, list):
                raise errors.unreadable(self.account, action)
            yield from (item for item in listed if isinstance(item, Mapping))
            following = page.get(token)
            if not isinstance(following, str) or not following or following in tokens:
                return
            tokens.add(following)
            page = self.call(action, functools.partial(request, **{token: following}))

    def identify(self) -> Caller:
        """Return whose credentials are used, which needs no right; looked up once."""
        if self._caller is None:
            answer = self._ask_identity()
            account, arn = answer.get("Account"), answer.get("Arn")
            if not isinstance(account, str) or not isinstance(arn, str):
                raise errors.unreadable(self.account, "look up the account")
            headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            self._caller = Caller(
                make_visible(account, 20), make_visible(arn, 300), headers.get("date")
            )
        return self._caller

    def require_valid(self) -> None:
        """Raise ProviderError if the credentials are refused now.

        Where S3 is asked for a header only, its refusal names no reason: expired credentials look like
        a request that is wrong.
        """
        self._ask_identity()

    def _ask_identity(self) -> Mapping[str, Any]:
        sts = self.connect("sts", self.region or list_regions()[0])
        return self.call("look up the account", sts.get_caller_identity)

    def describe_credentials(self) -> str:
        """Say where the credentials are from: ``profile dev (sso)``; empty if there are none."""
        credentials = self.guard("read the credentials", self._session.get_credentials)
        method = getattr(credentials, "method", None)
        if credentials is None:
            return ""
        if method in ("env", "explicit"):
            return "AWS_ACCESS_KEY_ID in the environment"
        if method == "iam-role":
            return "the role of this machine"
        profile = make_visible(self.account.profile, 60)
        return f"profile {profile} ({make_visible(str(method), 40)})"

    def list_search_regions(self) -> list[str]:
        """Return the regions that may have jobs of ours, the configured one first."""
        return list(dict.fromkeys(filter(None, [self.region, *list_regions()])))


@functools.cache
def list_regions() -> tuple[str, ...]:
    """Return the regions that the catalog's models are trained in."""
    models = (model for model in list_hosted_models("current") if model.platform == "bedrock")
    return tuple(dict.fromkeys(region for model in models for region in model.regions))
