"""The wizard's last page and the start of a run, with a real Slurm cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from ftwizard.plan import plan_file, schema
from ftwizard.screens import navigation
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.dialogs.dialog import ErrorDialog
from ftwizard.screens.draft import STEPS
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.draft.saved_drafts import DraftFile
from ftwizard.screens.monitor.page import MonitorPage
from ftwizard.screens.session import Session
from ftwizard.screens.wizard.review import MIN_READ_S, ReviewPage
from ftwizard.slurm import client
from tests.helpers import slurm_cluster
from tests.helpers.machines import make_machine
from tests.helpers.slurm_cluster import Cluster, run_cluster
from tests.screens.frames import drive, frame, until, wait_for_text
from tests.screens.wizard.data.reports import report
from tests.screens.wizard.steps import wait_for_page
from tests.slurm.test_runs_on_cluster import Lab

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(slurm_cluster.find_missing()), reason=slurm_cluster.find_missing()),
]
if not slurm_cluster.find_missing() and (forbidden := slurm_cluster.find_forbidden()):
    pytestmark += [pytest.mark.cgroup, pytest.mark.skip(reason=forbidden)]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    with run_cluster() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        client.forget()
        yield running
        running.cancel_all()
        client.forget()


def test_job_is_reviewed_refused_changed_and_seen_in_the_queue(
    cluster: Cluster, tmp_path: Path, home: Path
) -> None:
    cluster.run("sbatch", "--exclusive", "--output=/dev/null", "--wrap", "sleep 600")
    plan = plan_file.load(Lab(tmp_path, home).plan())
    files = schema.Files(train=plan.data.files.train, validation=plan.data.files.validation)
    checked = msgspec.structs.replace(report("x"), rows=16, usable=16, findings=())
    start = Draft(make_machine(slurm=True), plan=plan).with_check(files, checked)

    def place(draft: Draft, partition: str | None) -> Draft:
        return draft.with_plan(slurm=msgspec.structs.replace(plan.slurm, partition=partition))

    async def review(pilot: Pilot[Any], draft: Draft) -> None:
        app = pilot.app
        route = navigation._ask_and_start(app, Session(), draft, STEPS.index("Review"), DraftFile())
        app.run_worker(route, exit_on_error=False)
        await wait_for_page(pilot, ReviewPage)

    async def play(pilot: Pilot[Any]) -> None:
        await review(pilot, place(start, "nope"))
        await wait_for_text(pilot, "✗ Slurm refused the job: invalid partition specified: nope")
        assert "It is “Partition” on the Recipe page." in " ".join(frame(pilot.app).split())
        await pilot.pause(MIN_READ_S)
        await pilot.press("enter")
        await wait_for_page(pilot, ErrorDialog)
        await wait_for_text(pilot, "Change slurm.partition to one of: debug, high.")
        await pilot.press("escape")
        await wait_for_page(pilot, ReviewPage)
        assert not list((home / "runs").glob("*/job.json")), "nothing is left behind"
        page = pilot.app.screen
        assert isinstance(page, ReviewPage)
        page.leave(None)
        await until(pilot, lambda: pilot.app.screen is not page)
        await review(pilot, place(start, "debug").named("one"))
        await wait_for_text(pilot, "Slurm would start it")
        assert "on node1" in frame(pilot.app)
        await wait_for_text(pilot, "The batch script, as ftwizard submits it:")
        await pilot.pause(MIN_READ_S)
        await pilot.press("enter")
        await wait_for_page(pilot, MonitorPage)
        await wait_for_text(pilot, "queued  Slurm job")
        await wait_for_text(pilot, "Resources: waiting for free nodes")

    drive(FtwizardApp(), (100, 40), play)
