"""Text that is not what it looks like is pointed out, and honest text of any script is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.__main__ import main
from ftwizard.data.checks import text
from ftwizard.data.conversation import Conversation


def codes(answer: str, asked: str = "q") -> list[str]:
    row = Conversation(
        messages=[{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    )
    return [code for code, _, _ in text.check(row)]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("a\x00b", "control_char"),
        ("\x1b[31mred\x1b[0m", "control_char"),
        ("\x1b]52;c;aGk=\x07", "control_char"),
        ("good\b\b\b\bevil", "control_char"),
        ("a\x85b", "control_char"),
        ("user\u202egnp.exe", "bidi"),
        ("zero\u200bwidth", "hidden_text"),
        ("tagged\U000e0041\U000e0042", "hidden_text"),
        ("lost \ufffd\ufffd", "replacement_char"),
        ("cafÃ© dÃ©jÃ\xa0 vu", "mojibake"),
        ("doesnâ€™t", "mojibake"),
        ("Ð\x9fÑ€Ð¸Ð²ÐµÑ‚", "mojibake"),
        ("<!DOCTYPE html><html>", "artifact"),
        ("<script>alert(1)</script>", "artifact"),
        ("Dear [object Object]", "placeholder"),
    ],
)
def test_each_is_found_in_answer_and_question(answer: str, code: str) -> None:
    assert code in codes(answer)
    assert code in codes("fine", answer)


@pytest.mark.parametrize(
    "answer",
    [
        "line\nline\ttab\r\n",
        "São Paulo, Größe, naïve “quotes” – 5 € l’été Ångström",
        "SÃO PAULO, AÇÃO",
        "Привет, мир! 你好 こんにちは 안녕 سلام שלום नमस्ते",
        "می‌خواهم",  # Persian needs its zero-width non-joiner
        "👩‍👩‍👧 👍🏽 🏴󠁧󠁢󠁥󠁮󠁧󠁿 🇩🇪",
        "Z\u0310\u0337\u0353",
        "In HTML:\n```html\n<html><body></body></html>\n```",
        "use <b>bold</b> and x < y",
        "[/] [bold]markup[/bold] {0} %s",
    ],
)
def test_honest_text_is_left_alone(answer: str) -> None:
    assert codes(answer) == []


@given(st.text(alphabet=st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"])))
def test_letters_numbers_and_marks_are_no_controls(answer: str) -> None:
    assert not {"control_char", "bidi", "hidden_text"} & set(codes(answer))


def test_check_warns_once_a_row_and_prints_nothing_raw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl"
    bad = {"prompt": "a\x1b[2J", "completion": "b\x1b]0;owned\x07"}
    rows = [{"prompt": "a", "completion": "b"}, bad, bad]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["check", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["rows"], found["usable"]) == ("warning", 3, 3)
    (finding,) = found["findings"]
    assert finding["severity"] == "warning" and finding["code"] == "control_char"
    assert (finding["count"], finding["lines"]) == (2, [2, 3])
    assert main(["check", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "! control_char: 2 rows, at line 2, 3" in printed and "\x1b" not in printed
