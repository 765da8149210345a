"""How many rows and bytes a place takes, of one file and of a validation file beside another."""

from __future__ import annotations

from collections.abc import Iterator

from ftwizard.data.checks.found import Found
from ftwizard.data.container import Container
from ftwizard.data.targets import Target
from ftwizard.text import plural, size


def of_file(what: Container, place: Target, rows: int, part: str) -> Iterator[Found]:
    """Yield what of a file's rows and bytes a place does not take; ``part``: train or validation."""
    most = place.max_validation_rows if part == "validation" else place.max_rows
    if rows < place.min_rows and part == "train":
        yield Found(
            "too_few",
            f"{plural(rows, 'row')}, and {place.words} takes no fewer than {place.min_rows}",
            "add rows; a hundred good ones are where learning begins to show",
        )
    if most is not None and rows > most:
        yield Found(
            "too_many",
            f"{plural(rows, 'row')}, and {place.words} takes no more than {most:,}"
            + (" for validation" if part == "validation" else ""),
            "keep the best of them",
        )
    if place.max_bytes is not None and what.size > place.max_bytes:
        yield Found(
            "too_large",
            f"{size(what.size)}, and {place.words} takes no file above {size(place.max_bytes)}",
            "keep the best of the rows",
        )


def beside(place: Target, validation: int, training: int) -> Iterator[Found]:
    """Yield that a validation file has too many bytes beside the training file's."""
    most = place.max_validation_share
    if most is None or validation <= most * training:
        return
    yield Found(
        "validation_share",
        f"the validation file has {size(validation)}, {validation / max(training, 1):.0%} of the "
        f"training file's {size(training)}; {place.words} takes no more than {most:.0%}",
        f"keep {size(int(most * training))} of it or less: the best of its rows, or a split of 10 %",
    )
