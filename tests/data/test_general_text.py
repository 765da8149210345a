"""The packaged general text."""

from __future__ import annotations

from ftwizard.data import general_text


def test_general_text_has_registers_and_languages() -> None:
    paragraphs = general_text.read_general_text()
    assert len(paragraphs) >= 40
    assert len({paragraph.register for paragraph in paragraphs}) >= 10
    assert len({paragraph.language for paragraph in paragraphs}) >= 5
    assert all(len(paragraph.text) <= 600 for paragraph in paragraphs)
    assert len({paragraph.text for paragraph in paragraphs}) == len(paragraphs)


def test_a_cpu_measures_half_of_the_texts_and_at_least_the_least() -> None:
    every, some = (general_text.select_texts(on_gpu=on_gpu) for on_gpu in (True, False))
    assert len(every) == len(general_text.read_general_text())
    assert general_text.MIN_TEXTS <= len(some) <= len(every) / 2 and set(some) < set(every)
    tokens = [general_text.estimate_tokens(on_gpu=on_gpu) for on_gpu in (True, False)]
    assert tokens[1] < tokens[0] < 3000
