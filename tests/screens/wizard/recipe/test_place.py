"""Rows of the recipe page about where it trains: GPUs of this machine, and a Slurm job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from ftwizard.errors import FtwizardError
from ftwizard.hardware.machine import Gpu, MachineInfo
from ftwizard.plan import plan_file, schema
from ftwizard.plan.schema import Plan
from ftwizard.screens.draft import place_texts
from ftwizard.screens.draft.drafts import Draft, PageOutcome
from ftwizard.screens.widgets.folded_section import FoldedSection
from ftwizard.screens.wizard.recipe.page import RecipePage
from ftwizard.screens.wizard.setting_row import SettingRow
from ftwizard.screens.wizard.text_block import TextBlockPage
from ftwizard.slurm import cluster
from ftwizard.slurm.cluster import ClusterReport
from tests.helpers.machines import make_machine
from tests.screens.frames import (
    assert_frame,
    frame,
    show_at_top,
    until,
    wait_for_text,
)
from tests.screens.wizard.recipe.test_page import on_page
from tests.screens.wizard.steps import wait_for_page
from tests.slurm.test_cluster import SINFO

H100 = Gpu(name="NVIDIA H100 80GB HBM3", memory=85 * 10**9)
PLACE_KEYS = (
    "where-scheduler",
    "where-processes",
    "where-parallel",
    "slurm-partition",
    "slurm-gpus",
    "slurm-qos",
)


def start_on(*gpus: Gpu, **facts: Any) -> Draft:
    return Draft(make_machine(*gpus, extras=("local",), **facts))


def list_shown(page: RecipePage) -> list[str]:
    """Return the rows about the place that count."""
    rows = {row.id: row for row in page.query(SettingRow)}
    return [key for key in PLACE_KEYS if not rows[f"setting-{key}"].has_class("unused")]


def put(page: RecipePage, key: str, value: str) -> None:
    field = page.query_one(f"#setting-{key}", SettingRow).field
    field.focus()
    field.value = value


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[[ClusterReport | FtwizardError], None]:
    def use(answer: ClusterReport | FtwizardError) -> None:
        def read() -> ClusterReport:
            if isinstance(answer, FtwizardError):
                raise answer
            return answer

        monkeypatch.setattr(cluster, "read_cluster", read)

    use(ClusterReport(partitions=cluster.parse_partitions(SINFO), accounts=("physics",)))
    return use


@pytest.mark.parametrize(
    ("machine", "shown"),
    [
        (make_machine(), []),
        (make_machine(H100), []),
        (make_machine(H100, H100), ["where-processes"]),
        (make_machine(H100, slurm=True), ["where-scheduler"]),
    ],
)
def test_rows_are_shown_where_the_machine_can_use_them(
    machine: MachineInfo, shown: list[str], answers: object
) -> None:
    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        assert list_shown(page) == shown

    on_page(play, start=Draft(machine))


def test_several_gpus_choose_their_mode_with_its_reason_and_share_the_step() -> None:
    steps: list[PageOutcome | None] = []

    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        before = page.get_draft().plan.recipe
        put(page, "where-processes", "2")
        await until(pilot, lambda: "where-parallel" in list_shown(page))
        page.query_one("#setting-where-parallel", SettingRow).field.focus()
        await wait_for_text(pilot, "auto uses DDP. It fits: the whole model needs")
        after = page.get_draft().plan.recipe
        total = before.batch_size * before.gradient_accumulation
        assert after.batch_size * after.gradient_accumulation * 2 == total, "as many rows in a step"
        await pilot.press("right")
        await wait_for_text(pilot, "DDP, as you chose.")
        await pilot.press("enter")
        await until(pilot, lambda: bool(steps))

    on_page(play, start=start_on(H100, H100), left=steps.append)
    assert steps[0] is not None
    where = steps[0].draft.final_plan.where
    assert (where.processes, where.parallel, where.scheduler) == (2, "ddp", "none")


def test_more_processes_than_gpus_are_refused_in_a_sentence_and_nothing_is_lost() -> None:
    steps: list[PageOutcome | None] = []

    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        put(page, "epochs", "2")
        put(page, "where-processes", "3")
        await wait_for_text(pilot, "GPUs to train on is 3, but this machine has 2 GPUs.")
        await pilot.press("enter")
        await wait_for_text(pilot, "✗ GPUs to train on is 3, but this machine has 2 GPUs.")
        assert not steps and pilot.app.focused is page.query_one("#setting-where-processes Input")
        put(page, "where-processes", "2")
        await pilot.press("enter")
        await until(pilot, lambda: bool(steps))

    on_page(play, start=start_on(H100, H100), left=steps.append)
    assert steps[0] is not None and steps[0].draft.plan.recipe.epochs == 2


def test_slurm_job_is_asked_for_with_the_names_that_slurm_has(answers: object) -> None:
    steps: list[PageOutcome | None] = []

    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        page.query_one("#setting-where-scheduler", SettingRow).field.focus()
        await pilot.press("right")
        await until(pilot, lambda: "slurm-partition" in list_shown(page))
        page.query_one("#setting-slurm-partition", SettingRow).field.focus()
        await wait_for_text(pilot, "gpu (default): 6 nodes (3 idle), 4 × h100 or 8 × a100 each")
        await pilot.press("g", "p")
        await wait_for_text(pilot, "! Slurm lists no partition gp, only: gpu, cpu, empty, old.")
        await pilot.press("backspace")
        field = page.query_one("#setting-slurm-partition Input", Input)
        await until(pilot, lambda: bool(field._suggestion))
        await pilot.press("right")
        assert field.value == "gpu"
        put(page, "slurm-gpus", "9")
        await wait_for_text(pilot, "! A node of gpu has 8 GPUs.")
        put(page, "slurm-gpus", "4")
        assert "where-processes" not in list_shown(page), "one for each GPU of the job"
        put(page, "slurm-nodes", "2")
        await wait_for_text(pilot, "8 processes ×")
        put(page, "slurm-time", "4 hours")
        await wait_for_text(pilot, "Time limit is not a value of Slurm's.")
        put(page, "slurm-time", "04:00:00")
        await pilot.press("enter")
        await until(pilot, lambda: bool(steps))

    on_page(play, start=start_on(slurm=True), left=steps.append)
    assert steps[0] is not None
    plan: Plan = steps[0].draft.final_plan
    assert plan.where == schema.Where(scheduler="slurm", processes=4)
    assert plan.slurm == schema.Slurm(partition="gpu", nodes=2, gpus=4, time="04:00:00")
    assert plan_file.parse(plan_file.dump(plan)) == plan


def test_slurm_that_does_not_answer_keeps_nobody_from_continuing(
    answers: Callable[[FtwizardError], None],
) -> None:
    steps: list[PageOutcome | None] = []
    answers(
        FtwizardError("Slurm does not answer.", "See whether its controller is up: scontrol ping")
    )

    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        put(page, "where-scheduler", "slurm")
        await until(pilot, lambda: "slurm-partition" in list_shown(page))
        put(page, "slurm-partition", "any")
        await wait_for_text(pilot, "Slurm does not answer. See whether its controller is up")
        await pilot.press("enter")
        await until(pilot, lambda: bool(steps))

    on_page(play, start=start_on(slurm=True), left=steps.append)
    assert steps[0] is not None and steps[0].draft.final_plan.slurm.partition == "any"


def test_shell_lines_are_edited_on_a_page_of_their_own(answers: object) -> None:
    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        page.query_one(FoldedSection).action_turn(True)
        await pilot.pause()
        page.query_one("#setting-slurm-prelude", SettingRow).field.focus()
        await pilot.press("e")
        await wait_for_page(pilot, TextBlockPage)
        area = pilot.app.screen.query_one(TextArea)
        area.text = "#SBATCH --time=1"
        await pilot.press("ctrl+s")
        await wait_for_text(pilot, "✗ It has a line #SBATCH, which Slurm would not read there.")
        area.text = "module load cuda\n\nexport HF_HOME=/shared/hf\n\n"
        await pilot.press("ctrl+s")
        await wait_for_text(pilot, "2 lines: module load cuda …")
        await pilot.press("space")
        await wait_for_page(pilot, TextBlockPage)
        pilot.app.screen.query_one(TextArea).text = "other"
        await pilot.press("escape")
        await wait_for_text(pilot, "Discard the changes?")
        await pilot.press("y")
        await until(pilot, lambda: pilot.app.screen is page)
        prelude = page.get_draft().plan.slurm.prelude
        assert prelude == "module load cuda\n\nexport HF_HOME=/shared/hf\n"

    start = start_on(slurm=True).with_plan(where=schema.Where(scheduler="slurm"))
    on_page(play, start=start)


def test_plan_with_several_processes_shows_them_on_a_machine_with_one_gpu() -> None:
    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        assert list_shown(page) == ["where-processes", "where-parallel"]
        await wait_for_text(pilot, "GPUs to train on is 2, but this machine has 1 GPU.")

    start = (
        start_on(H100).with_plan(where=schema.Where(processes=2)).with_touched("where.processes")
    )
    on_page(play, start=start)


def test_slurm_job_has_as_many_processes_as_gpus_whatever_was_chosen_here(answers: object) -> None:
    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        put(page, "where-processes", "2")
        page.query_one("#setting-where-scheduler", SettingRow).field.focus()
        await pilot.press("right")
        await until(pilot, lambda: "slurm-gpus" in list_shown(page))
        await until(pilot, lambda: page.get_draft().plan.where.processes == 1)
        await until(pilot, lambda: "where-processes" not in list_shown(page))
        put(page, "slurm-gpus", "0")
        await until(pilot, lambda: "where-processes" in list_shown(page))

    on_page(play, start=start_on(H100, H100, slurm=True))


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
def test_frames_of_the_place(size: tuple[int, int], answers: object) -> None:
    several = schema.Where(processes=2)
    job = schema.Slurm(partition="gpu", nodes=2, gpus=4, time="04:00:00")
    on_slurm = schema.Where(scheduler="slurm", processes=4)
    cluster_start = start_on(slurm=True).with_plan(where=on_slurm, slurm=job)
    for key in (
        "where.scheduler",
        *(f"slurm.{each}" for each in ("partition", "nodes", "gpus", "time")),
    ):
        cluster_start = cluster_start.with_touched(key)
    starts = {
        "gpus": start_on(H100, H100).with_plan(where=several).with_touched("where.processes"),
        "slurm": cluster_start,
    }
    rows = {"gpus": "where-parallel", "slurm": "slurm-partition"}
    for name, start in starts.items():

        async def play(pilot: Pilot[Any], page: RecipePage, row: str = rows[name]) -> None:
            field = page.query_one(f"#setting-{row}", SettingRow).field
            await show_at_top(pilot, field)
            await until(pilot, lambda: place_texts.ASKING not in frame(pilot.app))
            await show_at_top(pilot, field)

        assert_frame(f"recipe-{name}-{size[0]}x{size[1]}", on_page(play, start=start, size=size))
