"""The chart widget, as text."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.style import Style
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from ftwizard.screens import palette
from ftwizard.screens.chart.layout import lay_out
from ftwizard.screens.chart.model import MARKS, ChartFigure, Styles
from ftwizard.screens.chart.widget import Chart, ChartLine, Mark
from ftwizard.timeseries import Series, Smoothed
from tests.screens.frames import assert_frame, drive, frame

Points = Sequence[tuple[float, float]]
GUTTER = 6


class ChartApp(App[None]):
    """An app with one chart that fills the screen."""

    def __init__(
        self,
        lines: Sequence[ChartLine],
        marks: Sequence[Mark] = (),
        x_end: float | None = None,
        *,
        ascii: bool = False,
    ) -> None:
        super().__init__()
        self.ascii = ascii
        self.chart = Chart()
        self.chart.show(lines, marks, x_end)

    def compose(self) -> ComposeResult:
        yield self.chart


def series(points: Points) -> Series:
    made = Series()
    for x, y in points:
        made.append(x, y)
    return made


def solid(points: Points, name: str = "train") -> ChartLine:
    return ChartLine(name, series(points), palette.TRAIN, "solid")


def dashed(points: Points, name: str = "validation") -> ChartLine:
    return ChartLine(name, series(points), palette.VALIDATION, "dashed", "◆")


def shown(
    lines: Sequence[ChartLine], size: tuple[int, int] = (80, 24), *keys: str, ascii: bool = False
) -> str:
    async def press(pilot: Pilot[None]) -> None:
        pilot.app.query_one(Chart).focus()
        await pilot.press(*keys)

    return drive(ChartApp(lines, ascii=ascii), size, press)


def body(picture: str) -> list[str]:
    """Return the rows inside the axes, without the labels of the y axis."""
    return [row[GUTTER:] for row in picture.split("\n")[1:-2]]


def dots(picture: str) -> dict[int, list[int]]:
    """Map each column with dots or markers to the rows that contain them, top first."""
    result: dict[int, list[int]] = {}
    for index, row in enumerate(body(picture)):
        for column, char in enumerate(row):
            if "\u2800" < char <= "\u28ff" or char in "◆•":
                result.setdefault(column, []).append(index)
    return result


def y_labels(picture: str) -> list[str]:
    return [
        row[: GUTTER - 1].strip() for row in picture.split("\n")[1:-2] if row[: GUTTER - 1].strip()
    ]


def x_labels(picture: str) -> list[str]:
    return picture.split("\n")[-1].split()


def example(*, steps: int = 600, noise: float = 0.08) -> tuple[list[ChartLine], list[Mark]]:
    """Return a typical run: raw and smoothed training loss, rising validation loss, marks."""
    raw, smooth, validation = Series(), Smoothed(), Series()
    for step in range(1, steps + 1):
        y = 0.3 + 2.2 * math.exp(-step / 120) + noise * math.sin(step * 12.9898) ** 3
        raw.append(step, y)
        smooth.append(step, y)
        if step % 30 == 0:
            validation.append(step, 0.5 + 2.0 * math.exp(-step / 110) + (step / 900) ** 2)
    lines = [
        ChartLine("", raw, palette.TRAIN, "faint"),
        ChartLine("train", smooth, palette.TRAIN, "solid"),
        ChartLine("validation", validation, palette.VALIDATION, "dashed", "◆"),
    ]
    marks = [Mark(x, "checkpoint") for x in range(100, steps, 100)]
    return lines, [*marks, Mark(330, "best"), Mark(450, "finding")]


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
def test_falling_curve_descends_across_the_chart(size: tuple[int, int]) -> None:
    picture = shown([solid([(x, 4.7 - 0.004 * x) for x in range(1, 1001)])], size)
    columns = dots(picture)
    tops = [columns[x][0] for x in sorted(columns)]
    assert tops == sorted(tops)
    assert tops[0] <= 1
    assert tops[-1] >= len(body(picture)) - 3
    assert len(columns) >= size[0] - GUTTER - 12
    assert [float(label) for label in y_labels(picture)] == [4, 3, 2, 1] or size[1] > 24
    assert x_labels(picture)[0] == "0"
    assert x_labels(picture)[-2:] == ["1000", "step"]
    assert "0.7000" in picture.split("\n")[0]
    assert all(len(row) <= size[0] for row in picture.split("\n"))


def test_line_styles_differ_without_color() -> None:
    level = [(x, 1.0) for x in range(101)]
    straight = "".join(body(shown([solid(level)])))
    broken = next(row for row in body(shown([dashed(level[::10])])) if "◆" in row)
    faint = ChartLine("raw", series([(x, x % 2) for x in range(41)]), palette.TRAIN, "faint")
    loose = body(shown([faint]))
    assert max(map(len, straight.split("1.000")[0].split())) >= 60  # one stroke
    strokes = broken.replace("1.000", "").split()
    assert len(strokes) > 8
    assert broken.count("◆") == 11
    assert all(not row[:-8].strip() for row in loose[1:-1])  # values only at 0 and 1, not joined


def test_legend_shows_name_and_newest_value_of_each_line() -> None:
    lines = [solid([(0, 2), (1, 0.43125)]), dashed([(0, 2), (1, 0.5123)])]
    assert shown(lines).split("\n")[0].strip() == "── train 0.4313  ╌◆╌ validation 0.5123"
    narrow = shown(lines, (32, 8)).split("\n")[0]
    assert "0.4313" in narrow
    assert len(narrow) <= 32
    unnamed = ChartLine("", lines[0].series, palette.TRAIN, "faint")
    assert "··" not in shown([unnamed, *lines]).split("\n")[0]


def test_newest_value_is_written_at_the_end_of_its_line() -> None:
    points = [(x, 2 - x / 100) for x in range(101)]
    rows = body(shown([solid(points)]))
    row = next(row for row in rows if "1.000" in row)
    assert row.rstrip().endswith("1.000")
    assert "\u2800" < row.rstrip()[-7] <= "\u28ff"
    close = shown([solid(points), dashed([(x, y + 0.001) for x, y in points[::10]])])
    ends = [row.split()[-1] for row in body(close) if row.strip() and row.split()[-1][0].isdigit()]
    assert ends == ["1.001", "1.000"]  # one above the other, as their values are


def test_nan_values_leave_a_gap() -> None:
    points = [(x, math.nan if 40 <= x < 60 else 1.0 + x / 100) for x in range(101)]
    columns = dots(shown([solid(points)]))
    middle = (min(columns) + max(columns)) / 2
    assert all(abs(x - middle) > 5 for x in columns)
    assert any(x < middle for x in columns)
    assert any(x > middle for x in columns)
    assert "train nan" in shown([solid([*points, (101, math.inf)])])


def test_chart_without_a_line_shows_a_message_or_a_dot() -> None:
    assert shown([]).strip() == "no steps yet"
    rows = shown([solid([])]).split("\n")
    assert rows[12].strip() == "no steps yet"
    assert abs(len(rows[12]) - len(rows[12].lstrip()) - 34) <= 1
    assert shown([solid([(1, math.nan), (2, math.nan)])]).strip() == "all values are NaN"
    item = shown([solid([(1, 4.7)])])
    assert sum(row.count("•") for row in body(item)) == 1
    assert "• 4.700" in item
    assert "◆ 4.700" in shown([dashed([(50, 4.7)])])


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (19, 24), (80, 4)])
def test_chart_is_blank_when_too_small(size: tuple[int, int]) -> None:
    lines, _ = example()
    assert not shown(lines, size).strip()


def test_smallest_chart_has_legend_curve_and_axis() -> None:
    lines, _ = example()
    rows = shown(lines, (20, 5)).split("\n")
    assert rows[0].split()[-1][0].isdigit()
    assert dots("\n".join(rows))
    assert rows[3].strip().startswith("└")
    assert rows[4].split()[0] == "0"


def test_keys_zoom_pan_and_follow_new_steps() -> None:
    line = solid([(x, math.sin(x / 50)) for x in range(1, 1001)])
    app = ChartApp([line])
    recorded: dict[str, list[str]] = {}

    async def play(pilot: Pilot[None]) -> None:
        app.chart.focus()

        async def note(name: str, *keys: str) -> None:
            await pilot.press(*keys)
            await pilot.pause()
            recorded[name] = x_labels(frame(app))[:-1]

        await note("all")
        await note("zoomed", "+", "+")
        assert not app.chart.view.is_fixed
        for x in range(1001, 1101):
            line.series.append(x, 0)
        app.chart.show([line])
        await note("followed")
        await note("panned", "left")
        assert app.chart.view.is_fixed
        for x in range(1101, 1201):
            line.series.append(x, 0)
        app.chart.show([line])
        await note("paused")
        assert "paused" in frame(app).split("\n")[0]
        await note("returned", "end")
        assert not app.chart.view.is_fixed
        await note("right", "left", "left", "right", "right", "right")
        assert not app.chart.view.is_fixed
        await note("reset", "0")
        await note("nothing to pan", "left")
        assert not app.chart.view.is_fixed
        await note("deepest", *["+"] * 20)
        await note("out", *["-"] * 20)

    drive(app, (80, 24), play)
    ends = {name: (float(labels[0]), float(labels[-1])) for name, labels in recorded.items()}
    assert ends["all"] == (0, 1000)
    assert ends["zoomed"] == (750, 1000)
    assert ends["followed"][1] == 1100
    assert ends["panned"][1] < 1100
    assert ends["paused"] == ends["panned"]
    assert ends["returned"] == ends["right"] == (950, 1200)
    assert ends["reset"] == ends["nothing to pan"] == ends["out"] == (0, 1200)
    assert 5 <= ends["deepest"][1] - ends["deepest"][0] <= 20


def test_f_extends_the_axis_to_the_planned_end() -> None:
    line = solid([(x, 5 - x / 100) for x in range(1, 101)])

    async def whole(pilot: Pilot[None]) -> None:
        pilot.app.query_one(Chart).focus()
        await pilot.press("f")

    picture = drive(ChartApp([line], x_end=400), (80, 24), whole)
    assert x_labels(picture)[-2] == "400"
    assert 14 <= max(dots(picture)) <= 18  # a quarter of 66 columns
    assert x_labels(drive(ChartApp([line], x_end=400), (80, 24)))[-2] == "100"


def test_l_toggles_the_log_scale_for_positive_values() -> None:
    falling = [solid([(x, 4.7 * math.exp(-x / 200)) for x in range(1, 1001)])]
    linear, log = shown(falling), shown(falling, (80, 24), "l")
    assert "l: log scale" in linear
    assert y_labels(log) == ["5", "2", "1", "0.5", "0.2", "0.1", "0.05"]
    columns = dots(log)
    first, middle, last = (columns[x][0] for x in (1, 31, 61))
    assert abs((middle - first) - (last - middle)) <= 1  # exponential decay is a straight line
    assert shown(falling, (80, 24), "l", "l") == linear
    below = [solid([(x, x - 5) for x in range(11)])]
    assert "log scale needs values above 0" in shown(below, (80, 24), "l")
    assert body(shown(below, (80, 24), "l")) == body(shown(below))


def test_initial_spike_does_not_flatten_the_curve() -> None:
    points = [(x, 90.0 if x < 5 else 1.5 - x / 1000) for x in range(1, 1001)]
    picture = shown([solid(points)])
    assert "↑ 90.00" in picture.split("\n")[0]
    columns = dots(picture)
    assert max(columns[60]) - min(columns[3]) > 12
    now = [(x, 90.0 if x > 995 else 1.5 - x / 1000) for x in range(1, 1001)]
    assert "↑" not in shown([solid(now)])  # a spike at the end is shown in full


def test_marks_are_drawn_at_their_steps() -> None:
    lines, marks = example()
    picture = drive(ChartApp(lines, marks), (80, 24))
    axis = picture.split("\n")[-2]
    columns = 80 - GUTTER - 8
    assert axis[GUTTER + int(330 / 600 * columns)] == "●"
    assert axis[GUTTER + int(450 / 600 * columns)] == "!"
    assert axis.count("▴") == 5
    assert "! finding 450" in picture.split("\n")[0]
    guide = [row[int(330 / 600 * columns)] for row in body(picture)]
    assert guide.count("┊") > 12


def test_finding_at_the_best_step_is_drawn_next_to_it() -> None:
    lines, _ = example()
    marks = [
        Mark(330, "best"),
        Mark(30, "finding", name="spiky"),
        Mark(330, "finding", name="over\x1b"),
    ]
    picture = drive(ChartApp(lines, marks), (100, 24))
    axis = picture.split("\n")[-2]
    at = GUTTER + int(330 / 600 * (100 - GUTTER - 8))
    assert axis[at : at + 2] == "●!" and axis.count("!") == 2
    assert "! over␛ 330  ! spiky 30  ● best 330" in picture.split("\n")[0]


def test_cursor_shows_the_values_at_its_step() -> None:
    lines = [solid([(x, x) for x in range(101)]), dashed([(0, 100.0), (50, 50.0), (100, 7.0)])]
    top = shown(lines, (80, 24), *["shift+left"] * 5).split("\n")[0]
    step = int(top.split()[1])
    assert 85 <= step < 100
    assert f"train {step:.2f}" in top
    assert "validation 7.000" in top
    assert "step" not in shown(lines, (80, 24), "shift+left", "0").split("\n")[0]
    assert shown(lines, (80, 24), "shift+left", "shift+right", "shift+right") == shown(lines)
    zoomed = shown(lines, (80, 24), *["shift+left"] * 30, "+")
    at = zoomed.split("\n")[0].split()[1]
    assert float(x_labels(zoomed)[0]) < float(at) < float(x_labels(zoomed)[-2])


def test_ascii_chart_contains_only_ascii() -> None:
    lines, marks = example()
    lines.append(solid([(1, 2.0), (600, 1.0)], "größe\x1b"))
    for keys in ((), ("l",), ("shift+left",), ("+", "left")):

        async def play(pilot: Pilot[None], keys: tuple[str, ...] = keys) -> None:
            pilot.app.query_one(Chart).focus()
            await pilot.press(*keys)

        picture = drive(ChartApp(lines, marks, ascii=True), (100, 30), play)
        assert picture.isascii()
    assert "o" in "".join(body(picture))


def test_hostile_line_names_are_shown_as_text() -> None:
    name = "[bold]@click=app.quit[/] \x1b]52;c;aGk=\x07\u202e\nx"
    picture = shown([solid([(0, 1), (1, 2)], name)], (120, 24))
    assert "[bold]@click=app.quit[/]" in picture
    assert len(picture.split("\n")) == 24
    assert not [c for c in picture if unicodedata.category(c) in ("Cc", "Cf") and c != "\n"]
    wide = shown([solid([(0, 1), (1, 2)], "損失" * 30)], (60, 12)).split("\n")[0]
    assert "~ 2.000" in wide


def test_no_color_keeps_the_shape_and_draws_in_gray(monkeypatch: pytest.MonkeyPatch) -> None:
    lines, marks = example()
    monkeypatch.delenv("NO_COLOR", raising=False)
    colored = drive(ChartApp(lines, marks), (80, 24))
    monkeypatch.setenv("NO_COLOR", "1")
    app = ChartApp(lines, marks)
    colors: set[tuple[int, ...]] = set()

    async def collect(_pilot: Pilot[None]) -> None:
        for strip in app.screen._compositor.render_strips():
            for _, style, _ in strip:
                if style is not None and style.color is not None:
                    colors.add(tuple(style.color.get_truecolor()))

    assert drive(app, (80, 24), collect) == colored
    assert colors
    assert all(len(set(color)) == 1 for color in colors)


def test_unchanged_chart_is_not_repainted(monkeypatch: pytest.MonkeyPatch) -> None:
    lines, marks = example()
    app = ChartApp(lines, marks)
    calls = []

    async def play(_pilot: Pilot[None]) -> None:
        monkeypatch.setattr(Chart, "refresh", lambda *_args, **_kwargs: calls.append(1))
        app.chart.show(list(lines), list(marks))
        assert not calls
        lines[0].series.append(601, 1.0)
        app.chart.show(lines, marks)
        assert len(calls) == 1
        app.chart.show(lines, marks[1:])
        lines[0].series.cut_after(500)
        app.chart.show(lines, marks[1:])
        assert len(calls) == 3

    drive(app, (80, 24), play)


@pytest.mark.parametrize(("name", "size", "ascii", "keys"), [
    ("chart-80x24", (80, 24), False, ""),
    ("chart-120x40-log", (120, 40), False, "l"),
    ("chart-80x24-ascii", (80, 24), True, ""),
])  # fmt: skip
def test_chart_matches_its_stored_frames(
    name: str, size: tuple[int, int], ascii: bool, keys: str
) -> None:
    lines, marks = example()

    async def play(pilot: Pilot[None]) -> None:
        pilot.app.query_one(Chart).focus()
        await pilot.press(*keys)

    assert_frame(name, drive(ChartApp(lines, marks, 800, ascii=ascii), size, play))


values = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(-10, 10),
    st.sampled_from([0.0, 1e-320, 1e300, -1e300]),
)
steps = st.lists(st.tuples(st.sampled_from([0.5, 1.0, 1e6]), values), max_size=40)
plain = Style()
STYLES = Styles(plain, plain, plain, dict.fromkeys(MARKS, plain), (plain, plain, plain))


@given(
    runs=st.tuples(steps, steps, steps),
    window=st.tuples(st.floats(-1e7, 1e7), st.floats(0.01, 1e8)),
    width=st.integers(20, 200),
    height=st.integers(5, 60),
    ascii=st.booleans(),
    log=st.booleans(),
    cursor=st.one_of(st.none(), st.floats(-1e8, 1e8)),
)
def test_any_values_fill_the_chart_exactly(
    runs: tuple[list[tuple[float, float]], ...],
    window: tuple[float, float],
    width: int,
    height: int,
    ascii: bool,
    log: bool,
    cursor: float | None,
) -> None:
    lines = []
    for run, style in zip(runs, ("faint", "solid", "dashed"), strict=True):
        made, x = Series(), 0.0
        for step, y in run:
            x += step
            made.append(x, y)
        lines.append(ChartLine(style, made, palette.TRAIN, style, "◆"))  # type: ignore[arg-type]
    figure = ChartFigure(
        lines=tuple(lines),
        marks=(Mark(1.0, "best"), Mark(2.0, "checkpoint")),
        window=(window[0], window[0] + window[1]),
        x_name="step",
        ascii=ascii,
        log=log,
        cursor=cursor,
        notes=("held",),
        styles=STYLES,
    )
    strips = lay_out(figure, width, height)
    assert len(strips) == height
    for strip in strips:
        assert sum(segment.cell_length for segment in strip) == strip.cell_length == width
