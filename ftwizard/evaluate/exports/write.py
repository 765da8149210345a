"""Writing of the files that other tools and people read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ftwizard.evaluate.exports.html_report import render_report
from ftwizard.evaluate.exports.inspect_log import make_logs
from ftwizard.evaluate.exports.lm_eval_samples import make_samples
from ftwizard.evaluate.exports.recorded import Recorded
from ftwizard.jobs.folder import write_whole
from ftwizard.runs.evaluation import Evaluation

REPORT = "report.html"
LM_EVAL = "lm-eval"
INSPECT = "inspect"


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
