"""The Costs page: every offer for this data in one table."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.geometry import Region
from textual.message import Message
from textual.widgets import Static

from ftwizard.catalog.prices import Prices
from ftwizard.pricing import machine_rate
from ftwizard.pricing.monthly import HOURS
from ftwizard.pricing.offer import Offer, PricingQuery, Volume
from ftwizard.screens import palette
from ftwizard.screens.chart.widget import Chart, ChartLine, Mark
from ftwizard.screens.costs import hour_price, inputs, table, text
from ftwizard.screens.costs.table import Order
from ftwizard.screens.dialogs.dialog import ErrorDialog
from ftwizard.screens.dialogs.forms import FormDialog
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.page import Page
from ftwizard.screens.widgets.menu import INDENT, Menu, MenuLine
from ftwizard.screens.widgets.scroll_pane import TextPane
from ftwizard.text import format_dollars
from ftwizard.timeseries import Series

ROOMY = 36
"""Window height from which groups are separated by a blank line."""


_AXIS_MARGIN = 1.25
"""Length of the axis relative to the last mark."""
_POINTS = 6
"""Points of each line, each with a marker."""


class VolumeDialog(FormDialog[Volume]):
    """Asks for requests per month and their tokens."""

    def __init__(self, basis: inputs.Basis) -> None:
        super().__init__(
            "How many requests per month?",
            inputs.MEASURED_NOTE if basis.measured else inputs.ASSUMED_NOTE,
            fields=inputs.list_amounts(basis.query.volume or basis.usual),
        )

    def parse(self, typed: list[str]) -> Volume:
        return inputs.parse_volume(typed)


class OfferPane(TextPane):
    """Details of one offer; notifies the page when its size changes."""

    class Resized(Message):
        """The size of the pane changed."""

    def on_resize(self) -> None:
        self.post_message(self.Resized())


class CostsPage(Page[Draft]):
    """Every offer on a line; the pane below explains the selected one.

    Dismisses with a draft whose hourly price may have changed."""

    NAME = "Costs"
    NOTES = (
        "The pane below has date and source of the selected line.",
        "“unknown” does not mean free; “–” means not billed.",
        "in/M, out/M: USD per million tokens of the tuned model.",
        "A range covers editions that differ by over 20%.",
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "sort", "sort", tooltip="sort by the next column"),
        Binding("r", "reverse", "reverse", tooltip="reverse the order"),
        Binding("v", "volume", "volume", tooltip="monthly volume: serving cost, break-even"),
        Binding("p", "plot", "plot", tooltip="chart of the cost by volume"),
        Binding("e", "edition", "edition", tooltip="current prices, or those of April 2026"),
        Binding("d", "share", "discount", tooltip="OpenAI's discount for sharing data"),
        Binding("h", "hour", "hourly price", tooltip="hourly price of this machine"),
        Binding(
            "tab",
            "app.focus_next",
            "scroll",
            key_display="tab",
            tooltip="to the details, which then scroll",
        ),
    ]

    def __init__(self, draft: Draft, today: datetime.date | None = None) -> None:
        super().__init__()
        self._draft = draft
        self._basis = inputs.build_basis(draft, today or datetime.date.today())
        self._order = Order()
        self._prices: Prices
        self._offers: list[Offer] = []
        self._own_left_out = False
        self._recommended: str | None = None
        """The recommended offer."""
        self._selected: str | None = None
        """The offer that the page selected; the cursor differs once a person has moved it."""

    def body(self) -> ComposeResult:
        yield Static(id="basis", markup=False)
        yield Static(id="head", markup=False)
        yield Menu(id="offers")
        with Horizontal(id="below"):
            yield OfferPane(id="offer")
            chart = Chart(x_name="requests per month", write=format_dollars)
            chart.can_focus = False
            yield chart

    def on_mount(self) -> None:
        self._prices, problem = inputs.load_prices(self._basis.query.today)
        self._own_left_out = problem is not None
        self.query_one(Menu).focus()
        self._compute()
        self._selected = self._recommended
        self.call_after_refresh(self._show, to=self._recommended)
        if problem is not None:
            self.app.push_screen(ErrorDialog(problem))

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    def on_menu_moved(self) -> None:
        self._show_details()

    def on_offer_pane_resized(self) -> None:
        self._show_details()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "plot":
            return self._is_monthly and not self.has_class("-wide")
        return True

    def action_sort(self) -> None:
        """Sort by the next column."""
        self._order = table.next_order(self._order, monthly=self._is_monthly)
        self._show_first()

    def action_reverse(self) -> None:
        """Sort the other way."""
        self._order = Order(self._order.by, not self._order.reverse)
        self._show_first()

    def _show_first(self) -> None:
        """Select the first line, or by provider the recommended one. A cursor that a person has
        moved stays on its offer."""
        if self.query_one(Menu).chosen != self._selected:
            self._show()
            return
        first = table.sort_offers(self._offers, self._order)[0]
        self._selected = self._recommended if self._order == Order() else table.get_key(first)
        self._show(to=self._selected)

    def action_edition(self) -> None:
        """Switch between the newest prices and those of the article."""
        self._basis = self._basis.with_other_edition()
        self._compute()
        chosen = self.query_one(Menu).chosen
        if not any(table.get_key(offer) == chosen for offer in self._offers):
            self._selected = chosen
        self._show_first()

    @work(group="volume", exclusive=True, exit_on_error=False)
    async def action_volume(self) -> None:
        """Ask for the monthly volume."""
        volume = await self.app.push_screen_wait(VolumeDialog(self._basis))
        if volume is not None:
            self._basis = self._basis.with_query(volume=volume)
            self._compute()
            self._show()

    @work(group="hour", exclusive=True, exit_on_error=False)
    async def action_hour(self) -> None:
        """Ask for the hourly price of this machine."""
        self._draft = await hour_price.ask_price(self.app, self._draft)
        self._basis = replace(self._basis, hour=self._draft.hour)
        self._compute()
        self._show()

    @property
    def help_notes(self) -> tuple[str, ...]:
        return (*self.NOTES, f"Your own prices: {machine_rate.shown_file()}")

    def action_back(self) -> None:
        """Close the plot where it replaces the details, else the page."""
        if self.has_class("plotted") and self.check_action("plot", ()):
            self.action_plot()
        else:
            self.dismiss(self._draft)

    def action_plot(self) -> None:
        """Toggle between plot and details where only one fits."""
        if not self.has_class("plotted") and (reason := self.query_one(Chart).empty):
            self.notify(f"No plot: {reason}.", markup=False)
            return
        self.toggle_class("plotted")
        self.refresh_bindings()
        self.call_after_refresh(self._show_details)

    def action_share(self) -> None:
        """Toggle OpenAI's data-sharing discount."""
        if self._basis.private:
            message = f"Not available: {self._basis.private}. {text.SHARING_NOTE}"
            self.notify(message, severity="warning", markup=False)
            return
        self._basis = self._basis.with_query(share_data=not self._basis.query.share_data)
        self.app.clear_notifications()
        on = self._basis.query.share_data
        self.notify(text.SHARING_ON if on else text.SHARING_OFF, markup=False)
        self._compute()
        self._show()

    @property
    def _is_monthly(self) -> bool:
        return self._basis.query.volume is not None

    def _compute(self) -> None:
        """Recompute every offer."""
        self._offers = inputs.compute_offers(self._basis, self._prices)
        first = inputs.find_recommended(self._offers, self._basis)
        self._recommended = table.get_key(first) if first else None
        self.set_class(self._is_monthly, "monthly")

    def _show(self, to: str | None = None) -> None:
        """Draw the table; the cursor stays on its offer, or moves to the key ``to``."""
        menu = self.query_one(Menu)
        width = menu.scrollable_content_region.width - len(INDENT)
        if width <= 0:
            return
        heading = text.format_heading(self._basis, self._order, own_left_out=self._own_left_out)
        if not self._is_monthly:
            heading.append(" · v sets a monthly volume", "dim")
        self.query_one("#basis", Static).update(heading)
        layout = table.build_layout(self._offers, self._order, width, monthly=self._is_monthly)
        self.query_one("#head", Static).update(layout.head())
        offers = table.sort_offers(self._offers, self._order)
        menu.show(self._lines(offers, layout), cursor=to)
        self.call_after_refresh(self._keep_in_view)
        self._show_details()
        self.refresh_bindings()

    def _keep_in_view(self) -> None:
        """Scroll to the cursor once the table is laid out."""
        menu = self.query_one(Menu)
        menu.scroll_to_region(Region(0, menu.cursor, 1, 1), animate=False)

    def _lines(self, offers: Sequence[Offer], layout: table.TableLayout) -> list[MenuLine]:
        above = table.build_headings(offers, self._order)
        lines: list[MenuLine] = []
        for offer in offers:
            id = table.get_key(offer)
            if id in above:
                lines += [MenuLine(Text())] if lines and self.size.height >= ROOMY else []
                lines.append(MenuLine(Text.assemble((above[id], "dim"))))
            lines.append(MenuLine(layout.line(offer, star=id == self._recommended), id))
        return lines

    def _show_details(self) -> None:
        """Show the selected offer as text and, with a volume, as a plot."""
        chosen = self.query_one(Menu).chosen
        offer = next((row for row in self._offers if table.get_key(row) == chosen), None)
        pane, chart = self.query_one(TextPane), self.query_one(Chart)
        if offer is None:
            return
        width = pane.visible_size[0]
        if pane.display and width > 0:
            star = chosen == self._recommended
            pane.show(text.format_detail(offer, self._basis, star=star, width=width))
        drawn = build_plot(offer, self._offers, self._basis.query)
        self.set_class(bool(drawn.empty), "plotless")
        chart.empty = drawn.empty
        chart.show(drawn.lines, drawn.marks)


@dataclass(frozen=True)
class Plot:
    """Lines and marks; ``empty`` explains why there are none."""

    lines: tuple[ChartLine, ...] = ()
    marks: tuple[Mark, ...] = ()
    empty: str = ""


def build_plot(offer: Offer, offers: Sequence[Offer], query: PricingQuery) -> Plot:
    """Plot the monthly cost of ``offer`` over requests, against the GPU of ``query``."""
    volume = query.volume
    if volume is None or volume.requests is None:
        return Plot(empty="press v to set monthly requests")
    if offer.provider == "local":
        return Plot(empty="a GPU costs the same at any volume")
    if offer.input is None or offer.output is None:
        return Plot(empty="inference price unknown")
    into, out = float(volume.tokens_in), float(volume.tokens_out)
    slope = (offer.input.value * into + offer.output.value * out) / 1e6
    fixed = offer.hosting.value * float(HOURS) if offer.hosting else 0.0
    gpus = (row for row in offers if row.card == query.serve_on and row.market == "on demand")
    gpu = next(gpus, None)  # the one that the break-even refers to
    rent = gpu.monthly.value if gpu and gpu.monthly else None
    marks = [Mark(float(volume.requests), "yours")]
    if rent is not None and offer.break_even:
        even = offer.break_even.value
        marks.append(Mark(even, "break-even", f"{even:,.0f}"))
    end = max(mark.x for mark in marks) * _AXIS_MARGIN
    lines = [ChartLine("this offer", _sample_line(fixed, slope, end), palette.TRAIN, "solid")]
    if gpu and rent is not None:
        name = gpu.name.removesuffix(" on demand")
        rented = _sample_line(rent, 0.0, end)
        lines.append(ChartLine(name, rented, palette.VALIDATION, "dashed", "○"))
    return Plot(tuple(lines), tuple(marks))


def _sample_line(fixed: float, slope: float, end: float) -> Series:
    series = Series()
    for index in range(_POINTS + 1):
        x = end * index / _POINTS
        series.append(x, fixed + slope * x)
    return series
