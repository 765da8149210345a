"""Requests to Together's API by its SDK.

The SDK repeats requests by itself, also those that create. So the client that creates a job repeats
nothing; what it asks for before, limits and price, is asked again here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from together import APIError, Together

from ftwizard.hosted_platforms import PLATFORMS
from ftwizard.providers.access import check_address, hide_secrets, make_client, read_key
from ftwizard.providers.together.errors import acts_never, refuse_answer, translate_errors

WANDB_KEY_VARIABLE = "WANDB_API_KEY"
INFERENCE = "https://api-inference.together.ai/v1"
"""Where models answer, unless ``TOGETHER_BASE_URL`` names another service."""
FIRST_WAIT_S, MAX_WAIT_S = 1.0, 30.0


class TogetherClient:
    """The SDK with an account: ``sdk`` repeats requests, ``creator`` sends each once.

    The platform derives from it, and has the functions that take one as its methods.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """Read the variables of the SDK; raise ProviderError if one cannot be used."""
        environment = os.environ if environment is None else environment
        key = read_key("together", environment)
        # The SDK's paths begin with /v1; addresses for other clients end with it.
        variable = PLATFORMS["together"].address_variable
        address = environment.get(variable, "").strip().rstrip("/").removesuffix("/v1")
        if address:
            check_address(address, "together")
        project = environment.get("TOGETHER_PROJECT_ID", "").strip() or None
        self.sdk = make_client(
            lambda: Together(api_key=key, base_url=address or None, project_id=project)
        )
        self.creator = self.sdk.with_options(max_retries=0)
        self.endpoint = f"{hide_secrets(str(self.sdk.base_url))}/v1"
        self.chat_address = self.endpoint if address else INFERENCE
        self.wandb_key = environment.get(WANDB_KEY_VARIABLE, "").strip()
        self.wandb_address = environment.get("WANDB_BASE_URL", "").strip()
        self._secrets = tuple(filter(None, (key, self.wandb_key)))

    def translate(
        self, acts: Callable[[APIError], bool] = acts_never
    ) -> AbstractContextManager[None]:
        """Turn errors of the SDK into ProviderError; see ``translate_errors``."""
        return translate_errors(self._secrets, acts=acts)

    def read(self, request: Callable[[], Any]) -> dict[str, Any]:
        """Send a request of the SDK that changes nothing, and return the answer as it was sent."""
        with self.translate():
            return to_record(request())

    def require_id(self, answer: object, action: str, *, may_have_acted: bool = False) -> str:
        """Return the id of what was created; raise ProviderError if the answer has none."""
        identity = getattr(answer, "id", None)
        if isinstance(identity, str) and identity:
            return identity
        raise refuse_answer(
            f"{action} was answered by {self.endpoint}, but not as Together does.",
            may_have_acted=may_have_acted,
        )


def to_record(answer: Any) -> dict[str, Any]:
    """Return an answer of the SDK as the service sent it."""
    record: dict[str, Any] = answer.to_dict(mode="json", warnings=False)
    return record


def wait(attempt: int) -> None:
    """Wait before a request is sent again, longer each time."""
    time.sleep(min(FIRST_WAIT_S * 2**attempt, MAX_WAIT_S))
