"""The README's pictures, taken from the app while the demo runs.

    python -m tests.pictures [FOLDER]

It takes as long as the demo. The default folder is ``assets/pictures``. ``demo.svg`` is an
animation of the pages from the data to the results. The runs are in ``ana`` of the folder for
temporary files, which the pictures show: ``TMPDIR=/home`` makes that a usual path.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textual.pilot import Pilot
from textual.widgets import Static

from ftwizard.runs import store
from ftwizard.runs.follower import Follower
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.wizard.after_training import AfterTrainingPage
from ftwizard.screens.wizard.recipe.page import RecipePage
from tests.helpers.memorization import verdict, write_plan
from tests.paths import DOUBLES, ROOT

SIZES = {"80x24": (80, 24), "160x50": (160, 50)}
FOLDER = ROOT / "assets" / "pictures"
LATE = 0.6
"""Share of the steps after which the picture of the monitor is taken."""
FILM_SHARES = (0.08, 0.2, 0.35, 0.5)
"""Shares of the steps at which the animation shows the monitor."""
FRAME_S = 2.0
"""Duration of a frame of the animation."""


async def wait_until(condition: Callable[[], bool], timeout_s: float = 900) -> None:
    for _ in range(int(timeout_s * 5)):
        if condition():
            return
        await asyncio.sleep(0.2)
    raise TimeoutError


def save(app: FtwizardApp, folder: Path, name: str) -> None:
    (folder / f"{name}.svg").write_text(app.export_screenshot(), encoding="utf-8")
    print(name)


def animate(frames: list[str]) -> str:
    """Return an SVG that shows screenshots of the same size in a loop."""
    (view_box,) = {re.search(r'viewBox="([^"]+)"', frame)[1] for frame in frames}  # type: ignore[index]
    share, last = 100 / len(frames), len(frames) - 1
    rules = [
        f"@keyframes frame-{index} {{ 0% {{ opacity: {int(index == 0)} }} "
        + (f"{index * share:.3f}% {{ opacity: 1 }} " if index else "")
        + (f"{(index + 1) * share:.3f}% {{ opacity: 0 }} " if index != last else "")
        + "}"
        for index in range(len(frames))
    ]
    groups = [
        f'<g style="animation: frame-{index} {len(frames) * FRAME_S}s step-end infinite">'
        f"{frame}</g>"
        for index, frame in enumerate(frames)
    ]
    head = f'<svg viewBox="{view_box}" xmlns="http://www.w3.org/2000/svg">'
    return "\n".join([head, "<style>", *rules, "</style>", *groups, "</svg>"])


def save_film(folder: Path, film: Path) -> None:
    """Save the animation from the saved wizard pages, the frames in ``film`` and the results."""
    monitor = sorted(film.glob("monitor-*.svg"))
    parts = [
        folder / "data-80x24.svg",
        folder / "recipe-80x24.svg",
        folder / "after-training-80x24.svg",
        *monitor,
        folder / "monitor-80x24.svg",
        folder / "results-80x24.svg",
    ]
    (folder / "demo.svg").write_text(animate([part.read_text() for part in parts]))
    print("demo")


async def start_demo() -> str:
    """Start the demo with its keys; return the id of its run."""
    app = FtwizardApp(("demo", ""))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await pilot.press("enter")
        await wait_until(lambda: bool(store.list_runs()))
        await wait_until(lambda: store.read_status(store.list_runs()[0]).state == "running")
    return store.list_runs()[0].id


async def save_run(
    folder: Path,
    run: str,
    name: str,
    *keys: str,
    ascii: bool = False,
    sizes: tuple[str, ...] = tuple(SIZES),
) -> None:
    """Take a run's screen after ``keys``, in each size."""
    for size_name in sizes:
        app = FtwizardApp(("run", run), ascii=ascii)
        async with app.run_test(size=SIZES[size_name]) as pilot:
            await pilot.pause(2.0)
            for key in keys:
                await pilot.press(key)
                await pilot.pause(0.5)
            save(app, folder, f"{name}-{size_name}")


async def save_wizard(folder: Path) -> None:
    """Take the pages on data, recipe and what follows training, with the demo's rows."""
    rows = next((Path(os.environ["FTWIZARD_HOME"]) / "samples").glob("tickets-*/train.jsonl"))
    for size_name, size in SIZES.items():
        app = FtwizardApp(("new", ""))
        async with app.run_test(size=size) as pilot:
            await pilot.pause(1.0)
            save(app, folder, f"provider-{size_name}")
            await pilot.press("enter")
            await pilot.pause(0.5)
            await _save_pages(app, pilot, rows, folder, size_name)


async def _save_pages(
    app: FtwizardApp, pilot: Pilot[Any], rows: Path, folder: Path, size_name: str
) -> None:
    os.chdir(rows.parent)
    await pilot.press(*rows.name, "enter")
    await wait_until(lambda: any(part.display for part in app.screen.query("#report")))
    await pilot.pause(0.5)
    save(app, folder, f"data-{size_name}")
    await pilot.press("enter")
    await wait_until(lambda: isinstance(app.screen, RecipePage))
    await pilot.press("tab", "down", "down")
    await pilot.pause(0.5)
    save(app, folder, f"recipe-{size_name}")
    await pilot.press("enter")
    await wait_until(lambda: isinstance(app.screen, AfterTrainingPage))
    await wait_until(lambda: "items" in str(app.screen.query_one("#prospect", Static).render()))
    await pilot.pause(0.5)
    save(app, folder, f"after-training-{size_name}")


def start(plan: Path, name: str, **environment: str) -> None:
    """Start a run of a plan from the command line."""
    subprocess.run(
        [sys.executable, "-m", "ftwizard", "train", str(plan), "--name", name,
         "--allow", "many-epochs"],
        env={**os.environ, **environment}, check=True,
    )  # fmt: skip


def build_driver(root: Path) -> Path:
    """Build the tests' NVIDIA driver library; return its folder."""
    library = root / "libnvidia-ml.so.1"
    source = DOUBLES / "nvml.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    return root


async def save_troubled_runs(folder: Path, root: Path) -> None:
    """Take a run that memorizes its rows, plain and in ASCII, and one on eight GPUs."""
    plan = write_plan(root)
    start(plan, "memorizing")
    run = store.find("memorizing")
    await wait_until(lambda: verdict(run) == "overfit")
    await save_run(folder, "memorizing", "overfitting")
    await save_run(folder, "memorizing", "ascii", ascii=True)
    start(plan, "eight-gpus", LD_LIBRARY_PATH=str(build_driver(root)), NVML_DOUBLE="eight")
    await wait_until(lambda: verdict(store.find("eight-gpus")) == "overfit")
    await save_run(folder, "eight-gpus", "gpus")


async def save_home(folder: Path) -> None:
    for size_name, size in SIZES.items():
        app = FtwizardApp()
        async with app.run_test(size=size) as pilot:
            await pilot.pause(2.5)
            save(app, folder, f"home-{size_name}")


def take_all(folder: Path, root: Path) -> None:
    """Run the demo and two runs in ``root``, and save their pictures to ``folder``."""
    os.environ["FTWIZARD_HOME"] = f"{root}/ftwizard"
    run = asyncio.run(start_demo())
    follower = Follower(store.find(run))

    def is_past(share: float) -> bool:
        follower.read(0.1)
        progress = follower.progress
        return (progress.step or 0) >= share * (progress.total_steps or 1e9)

    film = root / "film"
    film.mkdir()
    for index, share in enumerate(FILM_SHARES):
        asyncio.run(wait_until(functools.partial(is_past, share)))
        asyncio.run(save_run(film, run, f"monitor-{index}", sizes=("80x24",)))
    asyncio.run(wait_until(functools.partial(is_past, LATE)))
    asyncio.run(save_run(folder, run, "monitor"))
    asyncio.run(save_home(folder))
    asyncio.run(save_wizard(folder))
    asyncio.run(wait_until(lambda: store.read_status(store.find(run)).state == "ended"))
    asyncio.run(save_run(folder, run, "results", "enter"))
    save_film(folder, film)
    asyncio.run(save_troubled_runs(folder, root))
    for name in ("memorizing", "eight-gpus"):
        subprocess.run([sys.executable, "-m", "ftwizard", "stop", name], check=True)


def main() -> None:
    if shutil.which("transformers") != str(Path(sys.executable).parent / "transformers"):
        sys.exit("Activate the virtual environment first: the results show its commands by name.")
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.gettempdir(), "ana")  # this name may appear in the pictures
    root.mkdir()
    try:
        take_all(folder, root)
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
