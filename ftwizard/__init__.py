"""ftwizard: fine-tune an LLM from your terminal, compare it with its base model, and merge it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftwizard.train.watch_callback import WatchCallback

__version__ = "0.1.0"
__all__ = ["WatchCallback", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the callback for a person's own script only where it is used: it loads transformers."""
    if name == "WatchCallback":
        from ftwizard.train.watch_callback import WatchCallback

        return WatchCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
