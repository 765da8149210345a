"""The cost table of the plain wizard: its output and its prompts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import pytest
from rich.cells import cell_len

from ftwizard.runs.progress import Progress
from ftwizard.screens.costs import inputs
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.draft.suggestions import Suggest
from ftwizard.screens.plain import costs
from ftwizard.screens.plain.prompts import GoBack, Prompter, Validator
from tests.screens.costs.helpers import TODAY, counted, offers


class Scripted(Prompter):
    """Answers from a list; “b” goes back."""

    keys = ""

    def __init__(self, *answers: str, ascii: bool = False) -> None:
        super().__init__(ascii=ascii)
        self._answers = list(answers)
        self.refused: list[str] = []

    def _choose(self, question: str, options: Sequence[tuple[str, str]], text: str) -> str:
        answer = self._next(text)
        assert answer in [value for value, _ in options]
        return answer

    def _line(self, question: str, text: str, check: Validator, suggest: Suggest | None) -> str:
        while problem := check(answer := self._next(text)):
            self.refused.append(problem)
        return answer

    def _secret(self, question: str) -> str:
        return self._next("")

    @contextlib.contextmanager
    def _busy(self, title: str) -> Iterator[Callable[[Progress], None]]:
        yield lambda progress: None

    def _next(self, text: str) -> str:
        answer = self._answers.pop(0) if self._answers else ""
        if answer == "b":
            raise GoBack
        return text if answer == "enter" else answer


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(inputs, "compute_offers", offers)


def shown(
    capsys: pytest.CaptureFixture[str], draft: Draft, *answers: str, ascii: bool = False
) -> str:
    ask = Scripted(*answers, ascii=ascii)
    costs.browse_costs(ask, draft, TODAY)
    assert not ask._answers, "some answers were not used"
    text = capsys.readouterr().out
    assert max(map(cell_len, text.split("\n"))) <= 80
    return text


def rows(text: str) -> list[str]:
    """Return the names in the last printed table."""
    last = text.rpartition("training")[0].rpartition("\n")[0]
    lines = text[len(last) :].split("\n")
    return [line[6:26].strip() for line in lines if line[:3].strip().isdigit()]


def test_table_numbers_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, counted())
    assert "  1 ● OpenAI small" in text and "  8 ✗ OpenAI gone" in text
    assert "no longer offered" in text and "$3.36–24.00" in text


def test_row_number_shows_the_details_of_its_offer(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, counted(), "row", "9", "x", "8")
    assert "why         Since 2026-10-23: It is shut down." in text


def test_table_sorts_in_both_directions(capsys: pytest.CaptureFixture[str]) -> None:
    up = rows(shown(capsys, counted(), "sort", "training", ""))
    down = rows(shown(capsys, counted(), "sort", "training", "reverse"))
    assert up[:2] == ["Together 8B", "A100 40 GB on demand"]
    assert down[:4] == up[3::-1] and down[-1] == "OpenAI gone"


def test_volume_adds_the_monthly_costs(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, counted(), "volume", "none", "2M", "enter", "enter")
    assert "2,000,000 requests per month" in text and "$960.00" in text


def test_going_back_leaves_the_table_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, counted(), "volume", "b", "sort", "b", "row", "b", "b")
    assert "requests per month" not in text.rpartition("current prices")[2]


def test_edition_and_discount_can_be_switched(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, counted(), "edition", "share", "share")
    assert "prices of 2026-04" in text and text.count("data sharing") == 1


def test_confidential_data_gets_no_discount_and_a_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = shown(capsys, counted(data="stay"), "share")
    assert "your answers keep the data on this machine" in " ".join(text.split())
    assert "data sharing" not in text


def test_ascii_mode_prints_only_ascii(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert shown(capsys, counted(), "row", "1", ascii=True).isascii()
