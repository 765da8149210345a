"""Size limits of a target: rows and bytes of a file, and the share of the validation file."""

from __future__ import annotations

from collections.abc import Iterator

from ftwizard.data.findings import RowFinding
from ftwizard.data.io.inspect import Container
from ftwizard.data.platforms import Target
from ftwizard.text import format_bytes, format_count


def check_size(layout: Container, target: Target, rows: int, part: str) -> Iterator[RowFinding]:
    """Yield violations of a target's row and byte limits; ``part`` is train or validation."""
    max_rows = target.max_validation_rows if part == "validation" else target.max_rows
    if rows < target.min_rows and part == "train":
        yield RowFinding(
            "too_few",
            f"{format_count(rows, 'row')}; {target.words} needs at least {target.min_rows}",
            "add rows; improvements usually show from about 100 good rows",
        )
    if max_rows is not None and rows > max_rows:
        yield RowFinding(
            "too_many",
            f"{format_count(rows, 'row')}; {target.words} accepts at most {max_rows:,}"
            + (" for validation" if part == "validation" else ""),
            "keep the best rows",
        )
    if target.max_bytes is not None and layout.size > target.max_bytes:
        yield RowFinding(
            "too_large",
            f"{format_bytes(layout.size)}; {target.words} accepts files up to {format_bytes(target.max_bytes)}",
            "keep the best rows",
        )


def check_validation_share(target: Target, validation: int, training: int) -> RowFinding | None:
    """Return a finding if the validation file is too large relative to the training file (bytes)."""
    max_share = target.max_validation_share
    if max_share is None or validation <= max_share * training:
        return None
    return RowFinding(
        "validation_share",
        f"the validation file has {format_bytes(validation)}, {validation / max(training, 1):.0%} of the "
        f"training file's {format_bytes(training)}; {target.words} accepts at most {max_share:.0%}",
        f"reduce it to {format_bytes(int(max_share * training))} or less, or use a 10% split",
    )
