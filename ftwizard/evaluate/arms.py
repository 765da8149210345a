"""Arms: the models that an evaluation asks, each with its prompt and its source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from ftwizard.evaluate.items import Item
from ftwizard.runs.evaluation import ItemAnswer


class Arm(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model to ask: a folder, with an adapter on it if any, or an endpoint."""

    name: str
    """``base``, ``prompted``, ``tuned``, or any other."""
    model: str
    """Folder of a model, or the base address of an endpoint: ``http…`` of an OpenAI-compatible one,
    ``bedrock://REGION``, ``vertex://PROJECT/LOCATION``."""
    adapter: str | None = None
    tokenizer: str | None = None
    """Folder of tokenizer and template; None: the adapter's, else the model's."""
    scale: float = 1.0
    """Factor on the adapter's update; below 1 is a weaker adapter."""
    system: str | None = None
    """System prompt for items that have none."""
    shots: list[list[dict[str, Any]]] = []
    """Examples before each prompt: message lists that end with an answer."""
    served_name: str | None = None
    """Name of the model at an endpoint."""
    key_variable: str | None = None
    """Environment variable with the key of an endpoint."""
    requests_per_minute: float | None = None
    """What an endpoint allows, if known."""

    @property
    def is_endpoint(self) -> bool:
        """Return whether it is asked over the network."""
        return self.model.startswith(("http://", "https://", "bedrock://", "vertex://"))


class Answerer(Protocol):
    """What asks an arm: a local model or an endpoint."""

    def key(self, item: Item) -> str:
        """Return a hash of all that the answer depends on: the key of the cache."""
        ...

    def answer(
        self,
        items: Sequence[Item],
        on_answer: Callable[[Item, ItemAnswer], None],
        on_work: Callable[[float], None] = lambda items: None,
        may_start: Callable[[], bool] | None = None,
    ) -> None:
        """Answer ``items`` greedily, in any order; ``on_answer`` is called with each when complete.

        ``on_work`` is called often, with the items' worth of work in answers not complete yet; both
        may raise Stopped, and what was answered by then is not lost. With ``may_start``, items are
        begun in their order, and none once it returns False; those in work are completed.
        """
        ...
