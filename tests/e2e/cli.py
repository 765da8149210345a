"""The installed command, run without a terminal, and the same command in the test's process."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from ftwizard.__main__ import main

FTWIZARD = Path(sys.executable).with_name("ftwizard")


def run(
    *arguments: object,
    environment: Mapping[str, str] | None = None,
    timeout: float = 400,
    **more: Any,
) -> subprocess.CompletedProcess[str]:
    """Run ``ftwizard`` without a terminal and assert that it prints no traceback."""
    done = subprocess.run(
        [str(FTWIZARD), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **(environment or {})},
        **more,
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    return done


def ok(*arguments: object, **more: Any) -> str:
    """Run ``ftwizard``, assert exit code 0 and return its output."""
    done = run(*arguments, **more)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


def as_json(*arguments: object, **more: Any) -> Any:
    return json.loads(ok(*arguments, "--json", **more))


def run_here(
    *arguments: object, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``ftwizard`` as ``run`` does, but in this process, which has loaded its libraries.

    For what a command prints; a test of its process or its environment needs ``run``.
    """
    words = [str(argument) for argument in arguments]
    out, errors = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, environment or {}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(errors),
    ):
        try:
            code = main(words)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    done = subprocess.CompletedProcess(words, code, out.getvalue(), errors.getvalue())
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    return done


def ok_here(*arguments: object, **more: Any) -> str:
    """Run ``ftwizard`` in this process, assert exit code 0 and return its output."""
    done = run_here(*arguments, **more)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


def as_json_here(*arguments: object, **more: Any) -> Any:
    return json.loads(ok_here(*arguments, "--json", **more))
