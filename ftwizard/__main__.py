"""The only door: a command, or the app when there is none."""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> int:
    """Run a command; return its exit code (0 done, 1 failed, 2 usage, 3 declined, 4 unknown)."""
    from ftwizard.commands import dispatch

    return dispatch(sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
