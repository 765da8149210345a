"""Costs: what every path costs for this data, in one table."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.geometry import Region
from textual.message import Message
from textual.widgets import Static

from ftwizard.catalog.prices import Prices
from ftwizard.estimate.offer import Offer
from ftwizard.screens import cost_basis, cost_plot, cost_table, cost_texts, hour, hour_texts
from ftwizard.screens.cost_table import Order
from ftwizard.screens.draft import Draft
from ftwizard.screens.page import Page
from ftwizard.screens.problem import Problem
from ftwizard.screens.volume import VolumePage
from ftwizard.screens.widgets.chart import Chart
from ftwizard.screens.widgets.menu import INDENT, Line, Menu
from ftwizard.screens.widgets.reading import Reading
from ftwizard.text import dollars

ROOMY = 36
"""Rows of a window from which there is air between groups."""


class OfferPane(Reading):
    """Everything on one offer; tells the page when its room has changed."""

    class Resized(Message):
        """There is more room, or less."""

    def on_resize(self) -> None:
        self.post_message(self.Resized())


class CostsPage(Page[Draft]):
    """Every offer in a line; below it the one under the cursor, with each figure's source.

    Dismisses with a draft that may know another price of an hour of this machine."""

    NAME = "Costs"
    HELP = (
        "Every way to a tuned model with what it costs for these rows. Prices change: each has a "
        "date and a source, which stand below the table for the line under the cursor; look at the "
        "provider's page before you pay. “unknown” is never free; “–” is what is not billed there. "
        "in/M and out/M are US dollars per million tokens of the tuned model.\n\n"
        "Where two editions are more than a fifth apart the range holds both. Prices of your own "
        "stand in prices.toml of the settings folder. A sorted table goes by the likely amount; what "
        "is not known comes last, what is no longer offered last of all.\n\n"
        "h takes what an hour of your own machine costs, which is no row of any price list."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "sort", "sort"),
        Binding("r", "reverse", "reverse"),
        Binding("v", "volume", "volume"),
        Binding("p", "plot", "plot"),
        Binding("e", "edition", "edition"),
        Binding("d", "share", "discount"),
        Binding("h", "hour", "price an hour"),
        Binding("tab", "app.focus_next", "scroll", key_display="tab"),
    ]

    def __init__(self, draft: Draft, today: datetime.date | None = None) -> None:
        super().__init__()
        self._draft = draft
        self._basis = cost_basis.basis(draft, today or datetime.date.today())
        self._order = Order()
        self._prices: Prices
        self._offers: list[Offer] = []
        self._own_left_out = False
        self._star: str | None = None
        """The recommended offer."""
        self._put: str | None = None
        """The offer that the cursor was put on; it is on another one once a person has moved it."""

    def body(self) -> ComposeResult:
        yield Static(id="of", markup=False)
        yield Static(id="head", markup=False)
        yield Menu(id="offers")
        with Horizontal(id="below"):
            yield OfferPane(id="offer")
            chart = Chart(
                x_name="requests a month", ascii=getattr(self.app, "ascii", False), write=dollars
            )
            chart.can_focus = False
            yield chart

    def on_mount(self) -> None:
        self._prices, problem = cost_basis.prices(self._basis.asked.today)
        self._own_left_out = problem is not None
        self.query_one(Menu).focus()
        self._count()
        self._put = self._star
        self.call_after_refresh(self._show, to=self._star)
        if problem is not None:
            self.app.push_screen(Problem(problem))

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    def on_menu_moved(self) -> None:
        self._explain()

    def on_offer_pane_resized(self) -> None:
        self._explain()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "plot":
            return self._is_monthly and not self.has_class("-wide")
        return True

    def action_sort(self) -> None:
        """Sort by the next column."""
        self._order = cost_table.after(self._order, monthly=self._is_monthly)
        self._show_the_first()

    def action_reverse(self) -> None:
        """Sort the other way."""
        self._order = Order(self._order.by, not self._order.reverse)
        self._show_the_first()

    def _show_the_first(self) -> None:
        """Show what a table is sorted for, its first line, by path the recommended one; but a
        cursor that a person has moved stays on its offer."""
        if self.query_one(Menu).chosen != self._put:
            self._show()
            return
        first = cost_table.arranged(self._offers, self._order)[0]
        self._put = self._star if self._order == Order() else cost_table.key(first)
        self._show(to=self._put)

    def action_edition(self) -> None:
        """Switch between the newest prices and those of the article."""
        self._basis = self._basis.other_edition()
        self._count()
        chosen = self.query_one(Menu).chosen
        if not any(cost_table.key(one) == chosen for one in self._offers):
            self._put = chosen
        self._show_the_first()

    @work(group="volume", exclusive=True, exit_on_error=False)
    async def action_volume(self) -> None:
        """Ask what a month is to be."""
        given = self._basis.asked.volume or self._basis.usual
        measured = self._basis.measured
        volume = await self.app.push_screen_wait(VolumePage(given, measured=measured))
        if volume is not None:
            self._basis = self._basis.asking(volume=volume)
            self._count()
            self._show()

    @work(group="hour", exclusive=True, exit_on_error=False)
    async def action_hour(self) -> None:
        """Ask what an hour of this machine costs."""
        app: Any = self.app
        before, guide = self._draft.hour, hour_texts.guide_of(self._draft.estimate)
        self._draft = self._draft.priced(await hour.ask(app, before, guide))
        self._basis = replace(self._basis, hour=self._draft.hour)
        self._count()
        self._show()

    def action_back(self) -> None:
        self.dismiss(self._draft)

    def action_plot(self) -> None:
        """Where there is room for one of the two, show the plot in place of the words, or back."""
        self.toggle_class("plotted")
        self.refresh_bindings()
        self.call_after_refresh(self._explain)

    def action_share(self) -> None:
        """Take OpenAI's discount for shared data, or leave it."""
        if self._basis.private:
            said = f"Off, for {self._basis.private}. {cost_texts.SHARING}"
            self.notify(said, severity="warning", markup=False)
            return
        self._basis = self._basis.asking(share_data=not self._basis.asked.share_data)
        if self._basis.asked.share_data:
            self.notify(cost_texts.SHARING, markup=False)
        self._count()
        self._show()

    @property
    def _is_monthly(self) -> bool:
        return self._basis.asked.volume is not None

    def _count(self) -> None:
        """Compute every offer anew."""
        self._offers = cost_basis.offers(self._basis, self._prices)
        first = cost_basis.recommended(self._offers, self._basis)
        self._star = cost_table.key(first) if first else None
        self.set_class(self._is_monthly, "monthly")

    def _show(self, to: str | None = None) -> None:
        """Draw the table; the cursor stays on its offer, or goes to that of the key ``to``."""
        menu = self.query_one(Menu)
        width = menu.scrollable_content_region.width - len(INDENT)
        if width <= 0:
            return
        said = cost_texts.head(self._basis, self._order, own_left_out=self._own_left_out)
        if not self._is_monthly:
            said.append(" · v adds a monthly volume", "dim")
        self.query_one("#of", Static).update(said)
        layout = cost_table.layout(self._offers, self._order, width, monthly=self._is_monthly)
        self.query_one("#head", Static).update(layout.head())
        offers = cost_table.arranged(self._offers, self._order)
        menu.show(self._lines(offers, layout), cursor=to)
        self.call_after_refresh(self._keep_in_view)
        self._explain()
        self.refresh_bindings()

    def _keep_in_view(self) -> None:
        """Scroll to the cursor, now that the table has its size."""
        menu = self.query_one(Menu)
        menu.scroll_to_region(Region(0, menu.cursor, 1, 1), animate=False)

    def _lines(self, offers: Sequence[Offer], layout: cost_table.Layout) -> list[Line]:
        above = cost_table.headings(offers, self._order)
        lines: list[Line] = []
        for one in offers:
            id = cost_table.key(one)
            if id in above:
                lines += [Line(Text())] if lines and self.size.height >= ROOMY else []
                lines.append(Line(Text.assemble((above[id], "dim"))))
            lines.append(Line(layout.line(one, star=id == self._star), id))
        return lines

    def _explain(self) -> None:
        """Show the offer under the cursor in words and, with a volume, as a plot."""
        chosen = self.query_one(Menu).chosen
        offer = next((one for one in self._offers if cost_table.key(one) == chosen), None)
        pane, chart = self.query_one(Reading), self.query_one(Chart)
        if offer is None:
            return
        width = pane.room[0]
        if pane.display and width > 0:
            star = chosen == self._star
            pane.show(cost_texts.detail(offer, self._basis, star=star, width=width))
        drawn = cost_plot.plot(offer, self._offers, self._basis.asked)
        chart.say(drawn.empty)
        chart.show(drawn.lines, drawn.marks)
