"""Deferred compilation: what a run imports, and what the compiled functions return."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

from ftwizard.cli.deferred_compilation import defer

LOADS_PEFT = """
import contextlib, sys
from ftwizard.__main__ import main
with contextlib.suppress(SystemExit):
    main(["--version"])
import torch
compile = torch.compile
import peft
assert "bitsandbytes" in sys.modules and torch.compile is compile
assert not [name for name in sys.modules if name.startswith("torch._inductor.compile_fx")]
"""


def test_peft_loads_no_compiler() -> None:
    subprocess.run([sys.executable, "-c", LOADS_PEFT], check=True)


def test_function_is_compiled_once_when_it_is_first_called() -> None:
    compiled: list[dict[str, Any]] = []

    def compile(function: Callable[..., int], **options: Any) -> Callable[..., int]:
        compiled.append(options)
        return lambda *arguments: function(*arguments) + 100

    @defer(compile)
    def double(number: int) -> int:
        return 2 * number

    triple = defer(compile, dynamic=False)(lambda number: 3 * number)
    assert compiled == [] and double.__name__ == "double"
    assert [double(1), double(2), triple(1)] == [102, 104, 103]
    assert compiled == [{}, {"dynamic": False}]
