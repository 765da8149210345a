"""Entry point: a command, or the app without one."""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> int:
    """Run a command; return its exit code (0 done, 1 failed, 2 usage, 3 declined)."""
    from ftwizard.cli.parser import dispatch

    return dispatch(sys.argv[1:] if argv is None else argv, _open_screens)


def _open_screens(
    route: tuple[str, str] | None, ascii: bool, *, plain: bool = False, slow: bool = False
) -> int:
    if plain:
        from ftwizard.screens.plain.wizard import open_plain

        kind, names = route or ("new", "")
        return open_plain(names.split("\0") if kind == "file" else (), ascii=ascii)
    from ftwizard.screens.app import open_app

    return open_app(route, ascii=ascii, slow=slow)


if __name__ == "__main__":
    sys.exit(main())
