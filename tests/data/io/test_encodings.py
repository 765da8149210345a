"""Text in encodings other than UTF-8, decoded on request."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import pytest

from ftwizard.data import reader
from ftwizard.data.checks.run import CheckOptions, check_files
from ftwizard.data.documents import DataReport
from ftwizard.data.example import RowProblem
from ftwizard.data.io import records
from ftwizard.data.io.encodings import find_codec, guess_encoding
from ftwizard.data.io.inspect import FileProblem, inspect
from ftwizard.data.io.read_options import ReadOptions
from ftwizard.errors import USAGE, FtwizardError

LATIN = "It’s a “good” café – naïve, déjà vu"
CHINESE = "你好，今天天气怎么样？这是一个测试。"
JAPANESE = "こんにちは、元気ですか。表ソ十 はテストです。"
RUSSIAN = "Привет, как дела? Это тест кодировки."


def write_rows(path: Path, text: str, encoding: str, mark: bytes = b"") -> Path:
    rows = [json.dumps({"prompt": f"{n} {text}", "completion": text}, ensure_ascii=False)
            for n in range(12)]  # fmt: skip
    path.write_bytes(mark + ("\n\n".join(rows) + "\n").encode(encoding))
    return path


def check(path: Path, encoding: str | None = None) -> DataReport:
    options = CheckOptions(read=ReadOptions(encoding=encoding), count="no", near=False)
    return check_files(path, options)


@pytest.mark.parametrize(
    ("text", "encoding", "mark", "requested"),
    [
        (LATIN, "cp1252", b"", "windows-1252"),
        ("café", "latin-1", b"", "latin-1"),
        (CHINESE, "gb18030", b"", "gb18030"),
        (CHINESE, "gb18030", "\ufeff".encode("gb18030"), "gbk"),
        (JAPANESE, "cp932", b"", "shift_jis"),
        (RUSSIAN, "koi8_r", b"", "koi8-r"),
        (LATIN, "utf-16-le", b"", "utf-16"),
        (LATIN, "utf-16-be", b"", "utf-16"),
        (LATIN, "utf-16-le", codecs.BOM_UTF16_LE, None),
        (LATIN, "utf-16-be", codecs.BOM_UTF16_BE, "windows-1252"),
        (LATIN, "utf-8", codecs.BOM_UTF8, "gb18030"),
    ],
)
def test_rows_and_their_lines_in_each_encoding(
    text: str, encoding: str, mark: bytes, requested: str | None, tmp_path: Path
) -> None:
    path = write_rows(tmp_path / "rows.jsonl", text, encoding, mark)
    before = path.read_bytes()
    table = reader.read_table(path, "auto", ReadOptions(encoding=requested))
    assert [row.line for row in table.rows] == list(range(1, 24, 2))
    assert table.rows[3].example.messages[0]["content"] == f"3 {text}"
    assert path.read_bytes() == before


def test_a_table_is_decoded_before_its_fields_are_split(tmp_path: Path) -> None:
    # The second byte of 表 and ソ is a backslash, that of 十 a letter.
    path = tmp_path / "rows.csv"
    rows = "".join(f'"{JAPANESE}\n{n}","ソ{n}"\n' for n in range(5))
    path.write_bytes(f"prompt,completion\n{rows}".encode("cp932"))
    table = reader.read_table(path, "auto", ReadOptions(encoding="shift_jis"))
    assert [row.line for row in table.rows] == [2, 4, 6, 8, 10]
    assert table.rows[0].example.messages[1]["content"] == "ソ0"


def test_an_invalid_character_is_a_problem_of_its_row(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", CHINESE, "gb18030")
    lines = path.read_bytes().split(b"\n")
    lines[4] = lines[4].replace(b"4", b"4").replace(b'"completion": "', b'"completion": "\xff')
    path.write_bytes(b"\n".join(lines))
    report = check(path, "gb18030")
    assert report.usable == 11
    assert report.findings[0].code == "encoding" and report.findings[0].lines == [5]
    assert "gb18030" in report.findings[0].message


@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [
        (LATIN, "cp1252", "windows-1252"),
        (CHINESE, "gb18030", "gb18030"),
        (JAPANESE, "cp932", "shift_jis"),
        (RUSSIAN, "cp1251", "windows-1251"),
        (RUSSIAN, "koi8_r", "koi8-r"),
        ("안녕하세요 오늘 날씨가 어때요", "euc_kr", "euc-kr"),
    ],
)
def test_the_check_names_the_likely_encoding(
    text: str, encoding: str, name: str, tmp_path: Path
) -> None:
    path = write_rows(tmp_path / "rows.jsonl", text, encoding)
    report = check(path)
    likely = report.likely_encoding
    assert likely is not None and likely.name == name
    assert text[5:20] in likely.excerpt
    finding = next(finding for finding in report.findings if finding.code == "encoding")
    assert f"--encoding {name}" in finding.fix and likely.certainty in finding.message
    assert check(path, name).usable == 12


@pytest.mark.parametrize(
    ("line", "encoding", "name"),
    [
        ("Wann öffnet das Brückwasser-Fest?;„Velvet Foxes“ spielen für 30 € – pünktlich!",
         "cp1252", "windows-1252"),
        ("L'été, où es-tu ? C'était à Noël, près de l'hôtel;ça va", "cp1252", "windows-1252"),
        ("Señor, ¿dónde está el niño?;¡Mañana!", "cp1252", "windows-1252"),
        ("Zażółć gęślą jaźń;świeże łąki", "cp1250", "windows-1250"),
        ("Где купить билет?;HTTP-запрос в кассу", "cp1251", "windows-1251"),
        ("APIを使うには？;CPUの性能です", "cp932", "shift_jis"),
    ],
)  # fmt: skip
def test_the_words_of_a_table_tell_its_encoding(line: str, encoding: str, name: str) -> None:
    rows = "".join(f"{line} {n}\n" for n in range(60))
    likely = guess_encoding([f"Frage;Antwort\n{rows}".encode(encoding)])
    assert likely is not None and likely.name == name


def test_a_short_word_is_only_possible_and_names_the_others() -> None:
    likely = guess_encoding(["Don’t – naïve".encode("cp1252")])
    assert likely is not None and likely.certainty == "possible"
    assert likely.name == "windows-1252" and likely.others


def test_the_excerpt_begins_with_a_word() -> None:
    text = "Wann spielen Velvet Herons beim Brückwasser-Fest am Hafen?"
    likely = guess_encoding([text.encode("cp1252")])
    assert likely is not None
    assert likely.excerpt == "Herons beim Brückwasser-Fest am Hafen?"


def test_a_damaged_line_in_a_utf_8_file_is_not_another_encoding(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", LATIN, "utf-8")
    path.write_bytes(path.read_bytes().replace(b"3 It", b"3 \xe9 It"))
    report = check(path)
    assert report.likely_encoding is None
    assert report.findings[0].code == "encoding" and report.findings[0].lines == [7]


def test_utf_8_is_not_garbled_on_request(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", LATIN, "utf-8")
    with pytest.raises(FileProblem, match="garbled") as error:
        check(path, "windows-1252")
    assert error.value.candidates == ("utf-8",)
    assert check(path, "utf-8").usable == 12


def test_utf_16_without_a_mark_names_the_option(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", LATIN, "utf-16-be")
    with pytest.raises(FileProblem) as error:
        inspect(path)
    assert error.value.code == "encoding" and error.value.candidates == ("utf-16",)
    assert "--encoding utf-16" in error.value.hint


@pytest.mark.parametrize("name", ["win-1252", "base64", "idna", "", "utf-7", "x" * 300])
def test_an_unknown_encoding_is_refused(name: str) -> None:
    with pytest.raises(FtwizardError) as error:
        find_codec(name)
    assert error.value.exit_code == USAGE


def test_a_mistyped_encoding_names_the_nearest() -> None:
    with pytest.raises(FtwizardError, match="Unknown") as error:
        find_codec("win-1252")
    assert "windows-1252" in error.value.hint


def test_compressed_text_is_decoded_too(tmp_path: Path) -> None:
    import gzip

    path = write_rows(tmp_path / "rows.jsonl", LATIN, "cp1252")
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    container = records.open_file(packed, ReadOptions(encoding="cp1252"))
    values = [record.value for record in records.read_records(packed, container)]
    assert len(values) == 12 and not any(isinstance(value, RowProblem) for value in values)
