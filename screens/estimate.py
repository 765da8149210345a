"""Estimate: what the plan comes to, counted, before a second of training is spent."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from ftwizard import plan as plans
from ftwizard.screens import flow, palette
from ftwizard.screens.draft import Draft, Step
from ftwizard.screens.page import WizardPage
from ftwizard.text import duration, plural, size, visible


class EstimatePage(WizardPage[Step]):
    """Counts with the model's own tokenizer; dismisses with a draft that knows the figures."""

    STEP = 3
    HELP = (
        "Every row was rendered in the model's own chat template and cut into its own tokens, "
        "just as the training will do it. Loss is taken on answers alone.\n\n"
        "Time is known once a run of this model has trained here; disk is what the run keeps."
    )

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self._draft = draft

    def body(self) -> ComposeResult:
        with VerticalScroll(id="estimate"):
            yield Static(id="figures", markup=False)

    def on_mount(self) -> None:
        self.query_one("#estimate").focus()
        if self._draft.estimate is None:
            self._count()
        else:
            self._show()

    def action_back(self) -> None:
        self.dismiss(Step(self._draft, -1))

    def action_next(self) -> None:
        if self._draft.estimate is not None:
            self.dismiss(Step(self._draft, 1))

    @work(group="count", exclusive=True, exit_on_error=False)
    async def _count(self) -> None:
        app: Any = self.app
        with tempfile.TemporaryDirectory(prefix="ftwizard-") as folder:
            file = Path(folder) / "plan.yaml"
            file.write_text(plans.dump(self._draft.plan))
            found = await flow.work(
                app, "Counting with the model's tokenizer", "estimate", str(file)
            )
        if found is None:
            self.dismiss(Step(self._draft, -1))
            return
        self._draft = replace(self._draft, estimate=found)
        self._show()

    def _show(self) -> None:
        found = self._draft.estimate or {}
        self.query_one("#figures", Static).update(
            figures(found, self._draft.plan.recipe.max_length)
        )


def figures(found: dict[str, Any], max_length: int) -> Text:
    """Return the estimate in groups: model, rows, steps, time and room."""
    text = Text()
    _row(text, "model", Text(visible(found["model"]["said"])))
    trained = found["trained"] / found["parameters"]
    _row(text, "parameters", Text(
        f"{found['parameters'] / 1e6:,.0f} million; {found['trained'] / 1e6:,.1f} million trained "
        f"({trained:.1%})"
    ))  # fmt: skip
    text.append("\n")
    text.append(f"{'':<14}{'rows':>8}{'tokens':>12}{'with loss':>12}{'longest':>9}\n", "dim")
    for name, label in (("train", "train on"), ("validation", "validate"), ("heldout", "compare")):
        part = found["parts"][name]
        line = f"{part['kept']:>8,}{part['tokens']:>12,}{part['trained']:>12,}{part['longest']:>9,}"
        text.append(f"{label:<14}", "dim").append(line if part["kept"] else f"{'none':>8}")
        text.append("\n")
    text.append_text(_notes(found["parts"], max_length)).append("\n")
    each = f"{plural(found['steps'], 'step')}, {found['steps_per_epoch']:,} an epoch"
    if found["evaluate_every"]:
        each += f"; validation every {plural(found['evaluate_every'], 'step')}"
    _row(text, "steps", Text(each))
    _row(text, "tokens", Text(f"{found['tokens']:,} pass through the model in training"))
    _row(text, "time", _time(found["time"]))
    _row(text, "disk", _disk(found["disk"]))
    _row(text, "memory", Text("not estimated; the first step shows it", "dim"))
    _row(text, "money", Text("nothing here but electricity, or the hours of a rented GPU", "dim"))
    return text


def _row(text: Text, name: str, value: Text) -> None:
    text.append(f"{name:<14}", "dim").append_text(value).append("\n")


def _notes(parts: dict[str, Any], max_length: int) -> Text:
    """Say which rows are cut, and which train nothing."""
    text = Text()
    for name, part in parts.items():
        if part["cut"]:
            text.append("! ", f"bold {palette.WARNING}")
            text.append(f"{plural(part['cut'], 'row')} ({name}) longer than {max_length:,} tokens "
                        "lose their end\n")  # fmt: skip
        if part["lost"]:
            first = ", ".join(map(str, part["lost"][:5]))
            text.append("! ", f"bold {palette.WARNING}")
            text.append(f"{plural(len(part['lost']), 'row')} ({name}) have nothing to train on and "
                        f"are left out: line {first}\n")  # fmt: skip
    return text


def _time(figure: dict[str, Any] | None) -> Text:
    if figure is None:
        return Text("known after the first steps: no run of this model has trained here yet", "dim")
    low, high = figure["low"], figure["high"]
    ends = time.strftime("%H:%M", time.localtime(time.time() + figure["value"]))
    return Text.assemble(
        f"{duration(low)} – {duration(high)}, until about {ends}",
        (f"  ({visible(figure['source'])})", "dim"),
    )


def _disk(disk: dict[str, Any]) -> Text:
    enough = disk["needed"] < disk["free"]
    mark, style = ("✓", palette.GOOD) if enough else ("✗", palette.BAD)
    words = f" about {size(disk['needed'])} of {size(disk['free'])} free"
    return Text.assemble((mark, style), words, "" if enough else ": too little")
