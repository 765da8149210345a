"""Deferred compilation in bitsandbytes, whose import would load torch's compiler.

bitsandbytes passes functions to ``torch.compile`` at import, and peft imports it for every method.
That loads TorchInductor: about two of the nine CPU seconds in which a run loads its libraries.
Here, each function is compiled when it is first called, which is never in most runs.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

MODULE = "bitsandbytes"


class DeferringFinder:
    """Finder of bitsandbytes alone, which it loads with deferred compilation."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != MODULE:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec and type(spec.loader) is SourceFileLoader:
            spec.loader = _DeferringLoader(name, spec.loader.path)
        return spec


class _DeferringLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        with _defer_compilation():
            super().exec_module(module)


def install() -> None:
    """Defer compilation in bitsandbytes, if it is imported later in this process."""
    if DeferringFinder not in sys.meta_path:
        sys.meta_path.insert(0, DeferringFinder)


@contextlib.contextmanager
def _defer_compilation() -> Iterator[None]:
    import torch

    compile = torch.compile
    torch.compile = functools.partial(defer, compile)
    try:
        yield
    finally:
        torch.compile = compile


def defer(
    compile: Callable[..., Any], function: Callable[..., Any] | None = None, **options: Any
) -> Callable[..., Any]:
    """Return ``function`` so that ``compile`` compiles it when it is first called.

    Without ``function``, return a decorator, as ``torch.compile`` does.
    """
    if function is None:
        return functools.partial(defer, compile, **options)

    @functools.cache
    def compile_once() -> Callable[..., Any]:
        return compile(function, **options)  # type: ignore[no-any-return]

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        return compile_once()(*arguments, **named)

    return call
