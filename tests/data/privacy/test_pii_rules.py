"""Personal data: numbers count only with valid check digits or a context that names them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum import luhn

from ftwizard.data.privacy.detect import find_secrets


def kinds(text: str) -> list[tuple[str, str]]:
    return [(secret.kind, text[secret.start : secret.end]) for secret in find_secrets(text)]


@pytest.mark.parametrize(
    "address",
    ["ana.souza+x@mail.acme.com.br", "k_o@web.de", "Bob.Smith99@gmail.com", "li-wei@uni.edu.cn", "o@acme.cloud"],
)  # fmt: skip
def test_personal_email_addresses_are_detected(address: str) -> None:
    for text in (
        address,
        f"Write to <{address}>.",
        f"mailto:{address}",
        f"联系{address}吧",
        f"({address})",
    ):
        (secret,) = find_secrets(text)
        assert (secret.kind, secret.code) == ("email address", "personal_data")
        assert text[secret.start : secret.end] == address


@pytest.mark.parametrize(
    "text",
    [
        "ana@example.com", "ana@mail.example.org", "root@localhost", "ana@corp.test", "x@y.invalid",
        "git@github.com:a/b.git", "user@host.com", "your.name@mail.com", "me@your-company.com",
        "no-reply@acme.io", "icon@2x.png", "react@18.2.0", "@app.route('/')", "x@self.weight",
        "deploy@10.0.0.1", "name@domain.com", "a @ b.com", "W@y.to(device)", "image@sha256:abc",
        "https://app:word@db.acme.com/", "f(x)@g.h", "foo@bar.baz",
    ],
)  # fmt: skip
def test_example_code_and_machine_addresses_are_ignored(text: str) -> None:
    assert kinds(text) == []


@pytest.mark.parametrize(
    "number",
    ["+49 30 901820 55", "+44 20 7946 1958", "+1 (212) 664-7665", "+1-212-664-7665", "+5511964205137",
     "(212) 664-7665", "212-664-7665", "+86 139 1234 0678"],
)  # fmt: skip
def test_phone_numbers_are_detected(number: str) -> None:
    for text in (number, f"Call {number}, please", f"tel:{number}", f"电话{number}"):
        assert kinds(text) == [("phone number", number)]


@pytest.mark.parametrize(
    "text",
    ["555-123-4567", "(212) 555-0123", "123-456-7890", "1-800-664-7665", "+1 800 664 7665", "2 + 212 = 214",
     "x = 5 +1234567", "pages 212-664-766", "+1 2 3 4", "2019-2020-2021", "978-3-16-148410-0",
     "1.212-664-7665.3", "5+4915112345678", "+0123456789", "ISO 8601: 2024-01-15 10:30"],
)  # fmt: skip
def test_other_numbers_are_not_phone_numbers(text: str) -> None:
    assert kinds(text) == []


def card(start: str, length: int, seed: int) -> str:
    source = random.Random(seed)
    head = start + "".join(source.choices("0123456789", k=length - len(start) - 1))
    return head + luhn.calc_check_digit(head)


ISSUED = [("4", 16), ("51", 16), ("2221", 16), ("34", 15), ("37", 15), ("6011", 16), ("65", 16), ("3528", 16), ("62", 16)]  # fmt: skip


@pytest.mark.parametrize(("start", "length"), ISSUED)
def test_card_numbers_are_detected_with_and_without_groups(start: str, length: int) -> None:
    for seed in range(20):
        number = card(start, length, seed)
        cut = (4, 10) if length == 15 else (4, 8, 12)
        parts = [number[a:b] for a, b in zip((0, *cut), (*cut, None), strict=True)]
        for text in (" ".join(parts), "-".join(parts)):
            (secret,) = find_secrets(f"no. {text}.")
            assert (secret.kind, secret.code) == ("card number", "card_number")
        assert kinds(f"Card: {number}, exp 12/29") == [("card number", number)]
        assert kinds(f"信用卡{number}") == [("card number", number)]
        wrong = number[:-1] + str((int(number[-1]) + 1) % 10)
        assert kinds(f"Card: {wrong}") == []


def test_long_number_without_context_is_not_a_card() -> None:
    number = card("4", 16, 1)
    for text in (
        number,
        f"order {number}",
        f"0.{number}",
        f"{number}5 card",
        f"card-{number}-x",
        f"v{number} card",
    ):
        assert kinds(text) == []
    for text in (
        f"{number[:4]} {number[4:8]} {number[8:12]} {number[12:]} 1234",
        f"12 {number[:4]} {number[4:8]} {number[8:12]} {number[12:]}",
    ):
        assert kinds(text) == []


@pytest.mark.parametrize(
    "number",
    ["DE89 3704 0044 0532 0130 00", "DE89370400440532013000", "GB82 WEST 1234 5698 7654 32", "BE68 5390 0754 7034",
     "NL91ABNA0417164300", "FR14 2004 1010 0505 0001 3M02 606", "ES91-2100-0418-4502-0005-1332"],
)  # fmt: skip
def test_bank_account_numbers_are_detected_in_text(number: str) -> None:
    for text in (
        number,
        f"IBAN: {number}.",
        f"{number} BIC",
        f"{number} ABCD EFGH",
        f"帐户{number}，",
    ):
        (secret,) = find_secrets(text)
        assert (secret.kind, secret.code) == ("bank account number", "bank_account")
        assert text[secret.start : secret.end] == number


@pytest.mark.parametrize(
    "text", ["DE88 3704 0044 0532 0130 00", "DE8937040044053201300", "XX12 ABCD 1234 5678", "AB12CDEF34567", "XDE89370400440532013000"]
)  # fmt: skip
def test_invalid_bank_account_numbers_are_ignored(text: str) -> None:
    assert kinds(text) == []


NATIONAL_IDS = [
    ("US social security number", "", "536-90-4399"),
    ("US social security number", "SSN: ", "536904399"),
    ("Brazilian CPF", "", "390.533.447-05"),
    ("Korean resident number", "", "850714-1020451"),
    ("Finnish identity code", "", "131052-308T"),
    ("Chinese resident number", "身份证", "11010519491231002X"),
    ("Italian tax code", "", "RCCMNL83S18D969H"),
    ("Mexican CURP", "", "BOXW310820HNERXN09"),
    ("Chilean RUT", "", "76.086.428-5"),
    ("Aadhaar number", "Aadhaar no. ", "2341 2341 2346"),
    ("Indian PAN", "PAN: ", "ACUPA7085R"),
    ("Polish PESEL", "PESEL ", "44051401359"),
    ("Dutch BSN", "mijn BSN is ", "111222333"),
    ("Spanish identity number", "DNI: ", "54362315K"),
    ("Spanish identity number", "NIE ", "X2482300W"),
    ("Canadian SIN", "social insurance number: ", "123-456-782"),
    ("NHS number", "NHS number is ", "943 476 5870"),
    ("Australian tax file number", "TFN ", "123 456 782"),
    ("German tax number", "Steuer-ID: ", "36 574 261 809"),
    ("Swedish personnummer", "personnummer ", "880320-0016"),
    ("Danish CPR number", "CPR ", "211062-5629"),
    ("Turkish identity number", "TC kimlik no: ", "17291716060"),
    ("South African identity number", "ID number ", "7503305044089"),
    ("Romanian CNP", "CNP: ", "1630615123457"),
    ("French social security number", "n° de sécurité sociale : ", "2 95 10 99 126 111 93"),
    ("Japanese individual number", "マイナンバーは", "628547384325"),
]


@pytest.mark.parametrize(("kind", "before", "number"), NATIONAL_IDS)
def test_national_ids_are_detected(kind: str, before: str, number: str) -> None:
    text = f"It is {before}{number}."
    (secret,) = find_secrets(text)
    assert (secret.kind, secret.code) == (kind, "national_id")
    assert text[secret.start : secret.end] == number


@pytest.mark.parametrize(("kind", "before", "number"), NATIONAL_IDS)
def test_invalid_or_unnamed_national_ids_are_ignored(kind: str, before: str, number: str) -> None:
    assert kinds(f"{before}{number}1") == []
    assert kinds(f"{before}9{number}") == []
    if before and kind != "Chinese resident number":
        assert kinds(f"the part {number}.") == []


@pytest.mark.parametrize(
    "text",
    ["123-45-6789", "078-05-1120", "000-12-3456", "666-12-3456", "111.111.111-11", "123.456.789-09",
     "2024-12-3456", "SSN 123456789", "SSN is a number of 9 digits", "PAN card", "sin 30", "12-345-678"],
)  # fmt: skip
def test_example_and_malformed_national_ids_are_ignored(text: str) -> None:
    assert kinds(text) == []


@given(st.integers(min_value=0, max_value=10**13))
def test_plain_numbers_are_not_personal_data(number: int) -> None:
    for text in (f"{number}", f"{number:,}", f"id {number}", f"${number / 100:.2f}"):
        assert kinds(text) == []


@given(st.from_regex(r"[1-8]\d{5}(19|20)\d\d[01]\d[0-3]\d{4}[\dX]", fullmatch=True))
def test_chinese_ids_of_unknown_counties_do_not_crash(number: str) -> None:
    assert len(find_secrets(f"no. {number}")) in (0, 1)


def test_number_is_ignored_when_the_library_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(number: str) -> bool:
        raise KeyError(number)

    monkeypatch.setattr("stdnum.us.ssn.is_valid", fail)
    assert kinds("536-90-4399") == []
