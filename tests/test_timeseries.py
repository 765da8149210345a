"""Time series, compared with brute force over a list."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ftwizard.timeseries import Series, Smoothed

Points = list[tuple[float, float]]

values = st.one_of(
    st.floats(-1e6, 1e6), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1e300])
)
# (increment of x, y), where an increment of 0 replaces the last point; or a cut at a share of x.
changes = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.sampled_from([0.0, 0.5, 1.0, 10.0]), values),
        st.tuples(st.just("cut"), st.floats(-0.1, 1.1), st.just(0.0)),
        # Enough points in a row for several levels of the pyramid.
        st.tuples(st.just("run"), st.integers(1, 700), values),
    ),
    max_size=30,
)
Changes = list[tuple[str, float, float]]


def plain(y: float) -> float:
    return y if math.isfinite(y) else math.nan


def grow(series: Series, steps: Changes) -> Points:
    """Apply the changes to a series and to a list; return the list."""
    points: Points = []

    def append(step: float, y: float) -> None:
        x = (points[-1][0] if points else 0.0) + step
        if points and step == 0:
            points.pop()
        points.append((x, y))
        series.append(x, y)

    for kind, amount, y in steps:
        if kind == "append":
            append(amount, y)
        elif kind == "run":
            for k in range(int(amount)):
                append(1.0, y + k % 37)
        elif points:
            limit = points[0][0] + amount * (points[-1][0] - points[0][0])
            points = [point for point in points if point[0] <= limit]
            series.cut_after(limit)
    return points


def extremes(points: Points) -> tuple[float, float] | None:
    finite = [y for _, y in points if math.isfinite(y)]
    return (min(finite), max(finite)) if finite else None


def same(ours: Points, theirs: Points) -> bool:
    """Compare points; NaN equals NaN."""
    return [(x, repr(y)) for x, y in ours] == [(x, repr(plain(y))) for x, y in theirs]


@given(steps=changes, a=st.floats(-0.2, 1.2), b=st.floats(-0.2, 1.2), n=st.integers(1, 40))
@example(steps=[("run", 700.0, 1.0)], a=0.0, b=1.0, n=7)
@example(steps=[("run", 600.0, 1.0), ("cut", 0.5, 0.0), ("run", 300.0, -5.0)], a=0.0, b=1.0, n=3)
def test_series_queries_match_brute_force(steps: Changes, a: float, b: float, n: int) -> None:
    series = Series()
    points = grow(series, steps)
    assert len(series) == len(points)
    assert series.first_x == (points[0][0] if points else None)
    assert series.last_x == (points[-1][0] if points else None)
    last = points[-1][1] if points else math.nan
    assert series.last == (last if math.isfinite(last) else None)
    end = points[-1][0] if points else 1.0
    x0, x1 = sorted((a * end, b * end))
    inside = [point for point in points if x0 <= point[0] <= x1]
    i, j = series.window(x0, x1)
    assert j - i == len(inside)
    assert same([series[k] for k in range(i, j)], inside)
    assert same(list(series.points(x0, x1)), inside)
    assert series.bounds(x0, x1) == extremes(inside)

    width = (x1 - x0) / n
    edges = [x0 + k * width for k in range(n)]
    slices = [[p for p in inside if left <= p[0] < right] for left, right in pairwise(edges)]
    slices.append([p for p in inside if p[0] >= edges[-1]])
    assert series.columns(x0, x1, n) == [extremes(piece) for piece in slices]
    gaps = [any(not math.isfinite(y) for _, y in piece) for piece in slices]
    assert series.gaps(x0, x1, n) == gaps


@given(steps=changes, part=st.floats(-0.5, 1.5))
def test_nearest_point_matches_brute_force(steps: Changes, part: float) -> None:
    series = Series()
    points = grow(series, steps)
    if not points:
        assert series.nearest(part) is None
        return
    x = part * points[-1][0]
    nearest = series.nearest(x)
    assert nearest is not None
    assert same([nearest], [min(points, key=lambda point: (abs(point[0] - x), point[0]))])


@given(steps=changes, weight=st.floats(0, 0.99), share=st.sampled_from([0.0, 0.02, 0.2]))
def test_smoothing_is_the_unbiased_average_of_remaining_points(
    steps: Changes, weight: float, share: float
) -> None:
    """Compare with the weighted mean, computed directly over the points that remain."""
    smoothed = Smoothed(weight, share)
    points = grow(smoothed, [(kind, x, min(y, 1e6)) for kind, x, y in steps])
    assert len(smoothed) == len(points)
    values: list[float] = []
    shares: list[float] = []
    for index, (x, y) in enumerate(points):
        smoothed_point = smoothed[index]
        assert smoothed_point[0] == x
        if not math.isfinite(y):
            assert math.isnan(smoothed_point[1])
            continue
        values.append(y)
        kept = weight if share * len(values) <= 1 / (1 - weight) else 1 - 1 / (share * len(values))
        shares = [s * kept for s in shares] + [1 - kept]
        if index % 50 == 0 or index == len(points) - 1:
            mean = math.fsum(map(math.prod, zip(values, shares, strict=True))) / math.fsum(shares)
            assert smoothed_point[1] == pytest.approx(mean, rel=1e-6, abs=1e-6)


def test_smoothing_with_constant_weight_matches_tensorboard() -> None:
    smoothed = Smoothed(0.6, share=0)
    total = 0.0
    for n in range(1, 500):
        y = math.sin(n)
        smoothed.append(n, y)
        total = 0.6 * total + 0.4 * y
        assert smoothed.last == pytest.approx(total / (1 - 0.6**n))


def test_invalid_points_are_refused_and_change_nothing() -> None:
    for series in (Series(), Smoothed()):
        series.append(2, 1.0)
        for x in (1, math.nan, math.inf):
            with pytest.raises(ValueError, match="x must"):
                series.append(x, 1.0)
        assert list(series.points(-math.inf, math.inf)) == [(2.0, 1.0)]
        series.append(3, 1.0)
        assert series.last == pytest.approx(1.0)
    for weight, share in ((1.0, 0.0), (-0.1, 0.0), (0.5, 1.1)):
        with pytest.raises(ValueError, match="weight"):
            Smoothed(weight, share)


def test_version_changes_with_every_change() -> None:
    series = Series()
    values = [series.version]
    for change in ("append", "replace", "cut"):
        if change == "cut":
            series.cut_after(0)
        else:
            series.append(1, 1)
        values.append(series.version)
    assert len(set(values)) == 4
    series.cut_after(5)
    assert series.version == values[-1]
