"""Jinja2 templates in ``assets``, of which a name that is not filled in is an error."""

from __future__ import annotations

from collections.abc import Callable

import jinja2


def load(path: str, filters: dict[str, Callable[..., str]]) -> jinja2.Template:
    """Return the template at a path below ``assets``; it can include those of its folder."""
    folder, _, name = path.rpartition("/")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ftwizard", f"assets/{folder}"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=".svg" in name,
    )
    environment.filters |= filters
    return environment.get_template(name)
