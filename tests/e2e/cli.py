"""The installed command, run without a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
