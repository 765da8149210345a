"""``split``: one file of rows becomes two, one to train on and one to validate on."""

from __future__ import annotations

import argparse
from pathlib import Path

from ftwizard import file_names, plan
from ftwizard.commands import output, progress
from ftwizard.data import hub
from ftwizard.data.format_names import NAMES
from ftwizard.data.split import Part
from ftwizard.data.split_file import SplitReport, split_file
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.text import plural, visible

SHOWN_KINDS = 12
KIND_WIDTH = 48


def split(arguments: argparse.Namespace) -> int:
    """Divide a file so that no prompt, and no near copy, is on both sides."""
    allowed = [plan.parse_risk(name) for name in arguments.allow]
    out: dict[Part, Path] = {
        "train": file_names.whole(arguments.out_train),
        "validation": file_names.whole(arguments.out_validation),
    }
    if out["train"] == out["validation"]:
        raise FtwizardError(
            "--out-train and --out-validation name the same file.", "Name two files.", USAGE
        )
    with progress.reporter(shown=True) as say:
        file, _ = hub.locate(arguments.data, say)
        found = split_file(
            file,
            arguments.format,
            out,
            validation=arguments.validation,
            seed=arguments.seed,
            skip_bad="skip-bad-rows" in allowed,
            say=say,
        )
    if arguments.json:
        output.print_json(found)
    else:
        output.say(output.console(), *_lines(found))
    return 0


def _lines(found: SplitReport) -> list[str]:
    skipped = f"; {plural(found.skipped, 'bad row')} left out" if found.skipped else ""
    rows = f"{plural(found.rows, 'row')} ({NAMES[found.format]})"
    groups = f"{plural(found.groups, 'group')}, the largest of {found.largest_group:,}"
    lines = [f"✓ {visible(found.path)}: {rows} in {groups}{skipped}"]
    for name, part in (("train", found.train), ("validation", found.validation)):
        lines.append(f"  {name:<10} {part.rows:>9,}  {visible(part.path)}")
    lines.append("  No prompt stands in both; near copies are on one side.")
    wanted = max(1, round(found.share * found.rows))
    if found.validation.rows != wanted:
        lines.append(
            f"  {wanted:,} were asked for: rows that belong together do not come out even."
        )
    if len(found.kinds) > 1:
        lines.append(f"  {'kind':<{KIND_WIDTH}} {'train':>9} {'validation':>10}")
        ranked = sorted(found.kinds.items(), key=lambda item: -sum(item[1].values()))
        for kind, parts in ranked[:SHOWN_KINDS]:
            counts = f"{parts.get('train', 0):>9,} {parts.get('validation', 0):>10,}"
            lines.append(f"  {visible(kind, KIND_WIDTH):<{KIND_WIDTH}} {counts}")
        if len(ranked) > SHOWN_KINDS:
            lines.append(f"  and {plural(len(ranked) - SHOWN_KINDS, 'more kind')}")
    return lines
