"""The picture of the loss curves: well-formed, to scale, and with every point that it can show."""

from __future__ import annotations

import math
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from ftwizard.export.card import curve
from ftwizard.export.card.curve import Curves

SVG = "{http://www.w3.org/2000/svg}"
Spots = list[tuple[float, float]]


def draw(curves: Curves) -> ElementTree.Element:
    return ElementTree.fromstring(curve.draw(curves))


def read_lines(root: ElementTree.Element, name: str) -> list[Spots]:
    group = next(g for g in root.iter(f"{SVG}g") if g.get("class") == name)
    lines = [line.get("points", "") for line in group.iter(f"{SVG}polyline")]
    return [[to_spot(*pair.split(",")) for pair in line.split()] for line in lines]


def to_spot(x: str, y: str) -> tuple[float, float]:
    return float(x), float(y)


def read_marks(root: ElementTree.Element, name: str) -> Spots:
    group = next(g for g in root.iter(f"{SVG}g") if g.get("class") == name)
    return [to_spot(c.get("cx", ""), c.get("cy", "")) for c in group.iter(f"{SVG}circle")]


def read_axis(root: ElementTree.Element) -> dict[str, float]:
    """Return the height of each labeled loss."""
    labels = [t for t in root.iter(f"{SVG}text") if t.get("text-anchor") == "end"]
    lefts = [t for t in labels if float(t.get("x", "0")) < 60]
    return {str(t.text): float(t.get("y", "0")) - 4 for t in lefts}


def test_the_curves_are_to_scale() -> None:
    losses = [(step, 3.0 - step * 0.2) for step in range(1, 11)]
    root = draw(Curves(losses, [(5, 2.0), (10, 1.0)], 10))
    (line,) = read_lines(root, "training")
    assert len(line) == 10
    gaps = [b[0] - a[0] for a, b in pairwise(line)]
    assert max(gaps) - min(gaps) < 0.2
    falls = [b[1] - a[1] for a, b in pairwise(line)]
    assert all(fall > 0 for fall in falls) and max(falls) - min(falls) < 0.2
    axis = read_axis(root)
    assert read_marks(root, "validation")[0][1] == pytest.approx(axis["2"], abs=0.1)
    assert read_marks(root, "validation")[0] == line[4]  # step 5, loss 2
    assert {"loss", "training", "validation", "kept: step 10"} <= {
        t.text for t in root.iter(f"{SVG}text")
    }


def test_a_steep_curve_has_a_logarithmic_axis() -> None:
    root = draw(Curves([(1, 4.0), (2, 0.4), (3, 0.04)], []))
    ((first, second, third),) = read_lines(root, "training")
    assert second[1] - first[1] == pytest.approx(third[1] - second[1], abs=0.2)
    assert "loss, log scale" in {t.text for t in root.iter(f"{SVG}text")}


def test_a_run_of_one_point_is_a_mark() -> None:
    curves = Curves([(1, 2.5)], [], 1)
    root = draw(curves)
    assert read_lines(root, "training") == [] and len(read_marks(root, "training")) == 1
    assert curve.describe(curves) == "Loss over 1 steps: training 2.5. Weights of step 1."


def test_nan_is_a_gap() -> None:
    curves = Curves(
        [(1, 2.0), (2, 1.9), (3, math.nan), (4, math.inf), (4.5, 1e308), (5, 1.8), (6, 1.7)], []
    )
    root = draw(curves)
    assert [len(line) for line in read_lines(root, "training")] == [2, 2]
    assert "nan" not in ElementTree.tostring(root, encoding="unicode").lower()
    assert "inf" not in curve.describe(curves)


def test_without_a_finite_loss_there_is_nothing_to_draw() -> None:
    assert Curves([(1, math.nan)], [(1, math.inf)]).is_empty
    assert Curves([], []).is_empty
    assert not Curves([(1, math.nan)], [(1, 1.0)]).is_empty


def test_a_long_run_keeps_its_ends_and_its_spike() -> None:
    points = [(step, 1.0) for step in range(1, 100_001)]
    points[54_321] = (54_322, 9.0)
    root = draw(Curves(points, []))
    (line,) = read_lines(root, "training")
    assert 100 < len(line) <= curve.MAX_POINTS
    spike = min(line, key=lambda spot: spot[1])
    others = [y for _, y in line if y != spike[1]]
    assert len(others) == len(line) - 1 and min(others) - spike[1] > 150
    assert line[0][0] == 56 and line[-1][0] == 700


@pytest.mark.parametrize(
    "values", [[0.0, 0.0], [-1.0, -2.0], [1e-9, 2e-9], [1e30, 1e30], [-5.0, 0.0, 700.0], [1e-300, 1e99]]
)  # fmt: skip
def test_all_points_are_within_the_picture(values: list[float]) -> None:
    root = draw(Curves(list(enumerate(values)), []))
    (line,) = read_lines(root, "training")
    assert all(0 <= x <= 720 and 30 <= y <= 282 for x, y in line)
