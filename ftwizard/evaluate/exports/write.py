"""Writing of the files that other tools and people read."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from ftwizard import __version__
from ftwizard.evaluate.exports.html_report import render_report
from ftwizard.evaluate.exports.inspect_log import make_logs
from ftwizard.evaluate.exports.lm_eval_samples import make_samples
from ftwizard.evaluate.exports.recorded import Recorded
from ftwizard.jobs.folder import write_whole
from ftwizard.runs.evaluation import Evaluation

REPORT = "report.html"
LM_EVAL = "lm-eval"
INSPECT = "inspect"


LIBRARIES = ("torch", "transformers", "peft")
_INPUTS = {
    "train": "training data", "validation": "validation data", "test": "test data",
    "split": "split of the data", "weights": "base weights", "template": "chat template",
}  # fmt: skip


def write_exports(
    folder: Path,
    evaluation: Evaluation,
    recorded: Recorded,
    title: str,
    facts: Sequence[tuple[str, str]] = (),
) -> None:
    """Write ``report.html``, ``lm-eval/`` and ``inspect/`` into ``folder``; earlier files are removed.

    ``title`` and ``facts`` as in ``render_report``. Raises OSError.
    """
    contents = {f"{LM_EVAL}/{name}": data for name, data in make_samples(recorded).items()}
    logs = make_logs(recorded, evaluation.sets)
    contents |= {f"{INSPECT}/{name}": data for name, data in logs.items()}
    page = render_report(evaluation, title, facts)
    contents[REPORT] = page.encode("utf-8", "replace")
    for name, data in contents.items():
        path = folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, data)
    for path in [*folder.glob(f"{LM_EVAL}/*/*.jsonl"), *folder.glob(f"{INSPECT}/*.json")]:
        if str(path.relative_to(folder)) not in contents:
            path.unlink(missing_ok=True)


def remove_exports(folder: Path) -> None:
    """Remove what ``write_exports`` wrote, as far as that is possible."""
    for name in (LM_EVAL, INSPECT):
        shutil.rmtree(folder / name, ignore_errors=True)
    with contextlib.suppress(OSError):
        (folder / REPORT).unlink(missing_ok=True)


def list_facts(recorded: Recorded, hashes: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return what an evaluation was made from: models, hashes of the inputs, and versions."""
    return [*_list_facts(recorded, hashes)]


def _list_facts(recorded: Recorded, hashes: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield "date", recorded.created.isoformat(sep=" ", timespec="minutes")
    for arm in recorded.arms:
        adapter = f" with {arm.adapter}" if arm.adapter else ""
        strength = f", strength {arm.scale:g}" if arm.scale != 1 else ""
        yield f"{arm.name} model", f"{arm.served_name or arm.model}{adapter}{strength}"
    for part, name in _INPUTS.items():
        if part in hashes:
            yield name, hashes[part]
    ids = "\n".join(item.id for item in recorded.items).encode("utf-8", "replace")
    yield "items", f"{len(recorded.items):,}, sha256 of their ids {hashlib.sha256(ids).hexdigest()}"
    yield "ftwizard", __version__
    for library in LIBRARIES:
        try:
            yield library, metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
