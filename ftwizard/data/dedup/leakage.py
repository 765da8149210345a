"""Near-duplicate rows within a file, and leakage from training to validation rows.

Exact duplicates are left to ``exact_duplicates``. Larger files are sampled by prompt, which is reported.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from ftwizard.data import formats
from ftwizard.data.dedup import canonical_text, row_hashes
from ftwizard.data.dedup.near_duplicates import NearIndex
from ftwizard.data.example import Example, RowProblem
from ftwizard.data.findings import MAX_SHOWN_LINES, FileFinding, RowFinding
from ftwizard.data.format_names import Format
from ftwizard.data.io import records
from ftwizard.data.io.chunks import PROGRESS_ROWS, ReportProgress
from ftwizard.data.io.inspect import Container

MAX_ROWS = 100_000
"""Maximum rows compared; takes 6 s and 130 MB."""


class ComparedFile(msgspec.Struct, frozen=True):
    """A data file and its format."""

    path: Path
    container: Container
    format: Format
    rows: int
    """Number of rows in it."""

    @property
    def share(self) -> int:
        """Return the sampling interval: one prompt in ``share`` is compared."""
        return -(-self.rows // MAX_ROWS)

    def examples(
        self, share: int, advance: Callable[[int], None]
    ) -> Iterator[tuple[int, tuple[int, int], Example]]:
        """Yield line, hashes and example of distinct rows, for one prompt in ``share``.

        ``advance`` receives the number of rows read.
        """
        hashes: set[tuple[int, int]] = set()
        for number, record in enumerate(records.read_records(self.path, self.container)):
            if number % PROGRESS_ROWS == 0:
                advance(number)
            try:
                example = formats.to_example(records.decode_value(record.value), self.format)
            except RowProblem:
                continue
            prompt, answer, _ = row_hashes.hash_row(example)
            if (prompt or answer) % share or (prompt, answer) in hashes:
                continue
            hashes.add((prompt, answer))
            yield record.line, (prompt, answer), example


def find_near_duplicates(
    train: ComparedFile, validation: ComparedFile | None = None, *, say: ReportProgress
) -> Iterator[FileFinding]:
    """Yield the findings within the training file, and between it and the validation file.

    ``say`` receives the rows read and their total. Raises FileProblem.
    """
    total = train.rows + (validation.rows if validation else 0)
    share = max(train.share, validation.share if validation else 1)
    spans: dict[int, tuple[int, int]] = {}

    def read_text(line: int) -> str:
        start, end = spans[line]
        file.seek(start)
        return file.read(end - start).decode("utf-8", "surrogatepass")

    # The texts would fill the memory.
    with tempfile.TemporaryFile(prefix="ftwizard-") as file:
        index = NearIndex(read_text)
        train_hashes: set[tuple[int, int]] = set()
        for line, hashes, example in train.examples(share, lambda rows: say(rows, total)):
            train_hashes.add(hashes)
            text = canonical_text.row_text(example)
            start = file.tell()
            file.write(text.encode("utf-8", "surrogatepass"))
            spans[line] = start, file.tell()
            index.add(line, text)
        yield from _find_within(index)
        if validation:
            rows = (
                (line, canonical_text.row_text(example))
                for line, hashes, example in validation.examples(
                    share, lambda rows: say(train.rows + rows, total)
                )
                if hashes not in train_hashes
            )
            yield from _find_between(index, rows)


def report_sampling(train: ComparedFile) -> RowFinding | None:
    """Return a finding if the file is only sampled, else None."""
    if train.share <= 1:  # 0: no rows
        return None
    return RowFinding(
        "sampled",
        f"only 1 of {train.share} prompts was searched for near-duplicates: the file has more than "
        f"{MAX_ROWS:,} rows",
        "to search all rows, check the file in parts",
    )


def _find_within(index: NearIndex) -> Iterator[FileFinding]:
    groups = index.groups()
    later = sorted(line for group in groups for line in group[1:])
    if not later:
        return
    first = min(groups, key=lambda group: group[1])
    yield FileFinding(
        code="near_duplicate",
        message=f"near-duplicate of an earlier row: line {first[1]:,} of line {first[0]:,}",
        fix="keep the better of each: near-duplicates also lead to memorization",
        count=len(later),
        lines=later[:MAX_SHOWN_LINES],
    )


def _find_between(index: NearIndex, rows: Iterable[tuple[int, str]]) -> Iterator[FileFinding]:
    """Yield the finding on near-duplicates of indexed rows among validation rows (line, text)."""
    if pairs := list(index.nearest(rows)):
        line, train_line = pairs[0]
        yield FileFinding(
            code="near_leakage",
            message="validation rows that are near-duplicates of training rows: line "
            f"{line:,} of training line {train_line:,}",
            fix="remove them from one of the files, or split with ftwizard split",
            count=len(pairs),
            lines=[line for line, _ in pairs[:MAX_SHOWN_LINES]],
        )
