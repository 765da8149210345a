"""Requests to OpenAI's API by its SDK: who asks, what is tried again, and how each can fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import openai

from ftwizard.hosted_platforms import HostedProvider
from ftwizard.providers.access import check_address, make_client, read_key
from ftwizard.providers.openai import errors
from ftwizard.text import make_visible

MAX_RETRIES = 3
"""More tries of a request that only reads; the SDK waits as long as ``Retry-After`` asks."""
TIMEOUT_S, CONNECT_S, UPLOAD_S = 60.0, 10.0, 600.0
MAX_PAGES = 1_000
UPLOAD_TIMEOUT = openai.Timeout(UPLOAD_S, connect=CONNECT_S)
_Answer = TypeVar("_Answer")


class OpenAIClient:
    """The SDK with an account: ``reader`` repeats requests, ``writer`` sends each once.

    The platform derives from it, and has the functions that take one as its methods.
    """

    max_direct_bytes = 512 * 2**20
    """Larger files are uploaded in parts."""
    has_organizations = True
    """Whether requests may name an organization and a project of OpenAI."""

    def __init__(
        self, provider: HostedProvider, address: str, environment: Mapping[str, str]
    ) -> None:
        """Read the key; raise ProviderError if key or address cannot be used."""
        key = read_key(provider, environment)
        check_address(address, provider)
        self.account = errors.Account(provider, address, key)
        self.reader = make_client(
            lambda: openai.OpenAI(
                api_key=key,
                base_url=address,
                organization=environment.get("OPENAI_ORG_ID") or None,
                project=environment.get("OPENAI_PROJECT_ID") or None,
                max_retries=MAX_RETRIES,
                timeout=openai.Timeout(TIMEOUT_S, connect=CONNECT_S),
            )
        )
        if not self.has_organizations:  # else the SDK takes them from the environment
            self.reader.organization = self.reader.project = None
        # A repeated request to create makes a second paid job if only the reply was lost.
        self.writer = self.reader.with_options(max_retries=0, timeout=UPLOAD_TIMEOUT)
        self.writer.organization = self.reader.organization
        self.writer.project = self.reader.project

    def call(
        self,
        action: str,
        request: Callable[[], _Answer],
        *,
        creates: bool = False,
        model: str = "",
    ) -> _Answer:
        """Send a request; raise ProviderError for every way in which it can fail."""
        try:
            answer = request()
        except openai.OpenAIError as error:
            raise errors.translate(
                error, self.account, action, creates=creates, model=model
            ) from None
        except (ValueError, AttributeError, RecursionError):  # not JSON, or not an object
            raise errors.unreadable(self.account, action, creates=creates) from None
        if answer is None or isinstance(answer, str | list | int | float):
            raise errors.unreadable(self.account, action, creates=creates)
        return answer

    def iterate_pages(self, action: str, request: Callable[[], Any]) -> Iterator[list[Any]]:
        """Yield pages of a list; end where a service returns a page for the second time."""
        page = self.call(action, request)
        cursors = set()
        for _ in range(MAX_PAGES):
            items = [item for item in self._read_items(action, page) if item is not None]
            cursor = getattr(items[-1], "id", None) if items else None
            if not items or cursor in cursors:
                return
            cursors.add(cursor)
            yield items
            if not page.has_next_page():
                return
            page = self.call(action, page.get_next_page)

    def _read_items(self, action: str, page: Any) -> list[Any]:
        """Return the items of a page. An answer without a list is not an empty one: a job that may
        exist is looked up by it."""
        data = getattr(page, "data", None)
        is_null = data is None and "data" in getattr(page, "model_fields_set", ())
        if not isinstance(data, list) and not is_null:
            raise errors.unreadable(self.account, action)
        return data or []

    def iterate(self, action: str, request: Callable[[], Any]) -> Iterator[Any]:
        for items in self.iterate_pages(action, request):
            yield from items

    def require_id(self, answer: Any, action: str) -> str:
        """Return the id of what was created; raise ProviderError if the answer has none."""
        answer_id = getattr(answer, "id", None)
        if not isinstance(answer_id, str) or not answer_id:
            raise errors.unreadable(self.account, action, creates=True)
        return make_visible(answer_id, 200)
