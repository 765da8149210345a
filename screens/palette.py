"""Color palette, safe for color blindness.

Based on Okabe and Ito, "Color Universal Design" (2008); some colors are lightened for a dark
background.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from ftwizard.text import Role, Span

ACCENT = "#56b4e9"
TRAIN = ACCENT
VALIDATION = "#e69f00"
GOOD = "#3fc79a"
WARNING = "#e69f00"
BAD = "#ff8c5a"
_STYLES: dict[Role, str] = {
    "": "", "dim": "dim", "accent": ACCENT, "good": GOOD, "warning": f"bold {WARNING}",
    "bad": f"bold {BAD}",
}  # fmt: skip
TEXT = "#d8dee6"
GROUND = "#0f1318"
RAISED = "#161b22"
LINE = "#242c36"


def to_text(spans: Iterable[Span]) -> Text:
    """Return the spans in the styles of their roles."""
    return Text.assemble(*((span.text, _STYLES[span.role]) for span in spans))
