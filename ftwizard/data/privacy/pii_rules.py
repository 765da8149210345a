"""Detection rules for personal data: email addresses, phone, card and account numbers, identity
numbers.

Check digits are verified by python-stdnum; the rules here say where to look and what is only an
example.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable

from ftwizard.data.privacy.secret_rules import Rule, to_bytes_pattern

# --- email ------------------------------------------------------------------------------------

_PLACEHOLDER_NAME = re.compile(
    r"(?:git|hg|svn|root|no-?reply|do-?not-?reply|user\d*|user-?name|name|email|e-mail|you|your.*|"
    r"me|someone|somebody|example.*|test\d*|foo|bar|first\.?last|first[._-]?name.*|"
    r"mailer-daemon|postmaster|x+|a|b)",
    re.IGNORECASE,
)
_PLACEHOLDER_HOST = re.compile(
    r"(?:.*\.)?(?:example(?:\.[a-z]+)*|test|invalid|localhost|local|internal|"
    r"(?:your|my|some)[a-z-]*\.[a-z]+|domain\.[a-z]+|email\.com|company\.com|website\.com|"
    r"foo\.[a-z]+|bar\.[a-z]+|x+\.[a-z]+|example[a-z-]*\.[a-z]+)",
    re.IGNORECASE,
)
_URL_PREFIX = re.compile(r"://[^\s/@]*\Z")
# Country codes and other top-level domains used for email. Others are more often names in code
# (``model@self.weight``) or files (``icon@2x.png``, ``handlers@main.py``).
_TOP_LEVEL_DOMAINS = re.compile(
    r"(?!js|ts|py)[a-z]{2}|"
    r"com|net|org|edu|gov|mil|int|info|biz|name|pro|mobi|aero|coop|museum|"
    r"jobs|asia|tel|cat|app|dev|cloud|online|site|website|tech|store|shop|"
    r"blog|xyz|email|club|live|world|life|today|news|agency|academy|company|"
    r"group|solutions|media|digital|design|studio|team|works|health|care|travel|"
    r"space|page|link|work|systems|network|services|consulting|finance|bank|"
    r"legal|law|university|school|church|house|land|city|berlin|hamburg|koeln|"
    r"wien|paris|london|tokyo|nyc|swiss|global|international|foundation|ngo|ong|"
    r"eco|energy|engineering|software|computer|expert|support|help|chat|social|"
    r"art|photo|photography|video|music|games|fun",
    re.IGNORECASE,
)


def _is_email(match: re.Match[str]) -> bool:
    name, _, host = match["value"].rpartition("@")
    ending = host.rpartition(".")[2]
    before = match.string[max(0, match.start() - 80) : match.start()]
    after = match.string[match.end() : match.end() + 1]
    if (after and after in "(/:[") or _URL_PREFIX.search(before):
        return False  # git@host:path, user@host/path, x@y.to(device), https://user:word@host
    if not _TOP_LEVEL_DOMAINS.fullmatch(ending):
        return False
    return not _PLACEHOLDER_NAME.fullmatch(name) and not _PLACEHOLDER_HOST.fullmatch(host)


# --- phone numbers----------------------------------------------------------------------------

# Toll-free and premium numbers in North America, which are not personal.
_TOLL_FREE = ("800", "888", "877", "866", "855", "844", "833", "822", "900")


def _is_american(digits: str) -> bool:
    area, exchange = digits[:3], digits[3:6]
    valid = len(digits) == 10 and area[0] in "23456789" and exchange[0] in "23456789"
    # 555 is the exchange used in films and examples.
    return valid and "555" not in (area, exchange) and area not in _TOLL_FREE


def _is_phone(match: re.Match[str]) -> bool:
    digits = re.sub(r"\D", "", match["value"])
    if any(run in digits for run in ("12345", "98765", "00000", "11111", "99999")):
        return False
    if not match["value"].startswith("+"):
        return _is_american(digits)
    if digits.startswith("1"):
        return _is_american(digits[1:])
    return 10 <= len(digits) <= (15 if digits != match["value"][1:] else 13)


# --- shared shapes--------------------------------------------------------------------------------

# Coarse shapes shared by several kinds: few and simple shapes cost the least.
_DASHED = r"[0-9]{3}(?:\) ?|-)[0-9]{2,3}-[0-9]{4}"
_DOTTED = r"\.[0-9]{3}\.[0-9]{3}-[0-9kK]"
_DATED = r"[0-9]{6}[-A][0-9]{3}"
# Not after a point: fractions are as long.
_LONG = r"(?:^|[^0-9.])[1-8][0-9]{13}"
_GROUPED = (
    r"[0-9]{4} [0-9]{4} [0-9]{4} [0-9]|[0-9]{4}-[0-9]{4}-[0-9]{4}-[0-9]|3[0-9]{3}[ -][0-9]{6}[ -]"
)

# --- cards and accounts -----------------------------------------------------------------------

# First digits (low, high) and lengths: ISO/IEC 7812, as published by the issuers.
_ISSUERS: tuple[tuple[int, int, tuple[int, ...]], ...] = (
    (4, 4, (16,)),  # Visa
    (51, 55, (16,)), (2221, 2720, (16,)),  # Mastercard
    (34, 34, (15,)), (37, 37, (15,)),  # American Express
    (6011, 6011, (16,)), (644, 649, (16,)), (65, 65, (16,)),  # Discover
    (3528, 3589, (16,)),  # JCB
    (300, 305, (14,)), (36, 36, (14,)), (38, 39, (14,)),  # Diners Club
    (62, 62, (16, 17, 18, 19)),  # UnionPay
)  # fmt: skip
_CARD_WORDS = re.compile(
    r"\b(?:cards?|visa|master ?card|amex|american express|discover|diners|jcb|unionpay|maestro|"
    r"credit|debit|cvv2?|cvc2?|expir\w*|exp|pan|billing|charged?|payments?|checkout|karten?\w*|"
    r"kredit\w*|carte|tarjeta|cart[aã]o|carta|kaart|карт\w*)\b|カード|卡|카드",
    re.IGNORECASE,
)
_CONTEXT_CHARACTERS = 60


def _is_card(match: re.Match[str]) -> bool:
    from stdnum import luhn

    value = match["value"]
    digits = re.sub(r"\D", "", value)
    issued = any(
        low <= int(digits[: len(str(low))]) <= high and len(digits) in lengths
        for low, high, lengths in _ISSUERS
    )
    if not issued or not luhn.is_valid(digits):
        return False
    # One long number in ten has a valid check digit, so an ungrouped number needs context.
    start, end = match.start() - _CONTEXT_CHARACTERS, match.end() + _CONTEXT_CHARACTERS
    return digits != value or bool(_CARD_WORDS.search(match.string[max(0, start) : end]))


def _account_length(value: str) -> int:
    """Return the length of the account number at the start of ``value``; 0 if there is none.

    Words in capitals may follow it, and only its check digits tell where it ends.
    """
    from stdnum import iban

    end = len(value)
    # Country checks require current banks, but old account numbers are private too.
    while end >= 15 and not iban.is_valid(value[:end], check_country=False):
        end = max(value.rfind(" ", 0, end), value.rfind("-", 0, end))
    return end if end >= 15 else 0


# --- identity numbers -------------------------------------------------------------------------


def _valid(*modules: str) -> Callable[[re.Match[str]], bool]:
    """Return a check that passes if one of the stdnum modules accepts the number."""

    def check(match: re.Match[str]) -> bool:
        value = match["value"]
        digits = re.sub(r"\D", "", value)
        if "123456789" in digits or len(set(digits)) <= 2:
            return False  # a made-up number
        return any(_accepts(module, value) for module in modules)

    return check


def _accepts(module: str, value: str) -> bool:
    try:
        return bool(importlib.import_module(f"stdnum.{module}").is_valid(value))
    except (LookupError, TypeError, ValueError):  # cn.ric raises for unknown regions
        return False


def _delimit(shape: str) -> str:
    """Return a pattern for a number that is not part of a longer word or number."""
    return rf"(?<![\w.+-])(?P<value>{shape})(?![\w-]|\.\d)"


# Kind, shape, coarse shape, stdnum module. Distinctive shapes with check digits or dates.
_BY_SHAPE: tuple[tuple[str, str, str, str], ...] = (
    ("US social security number", r"\d{3}-\d{2}-\d{4}", _DASHED, "us.ssn"),
    ("Brazilian CPF", r"\d{3}\.\d{3}\.\d{3}-\d{2}", _DOTTED, "br.cpf"),
    ("Chilean RUT", r"\d{1,2}\.\d{3}\.\d{3}-[\dkK]", _DOTTED, "cl.rut"),
    ("Korean resident number", r"\d{6}-[1-8]\d{6}", _DATED, "kr.rrn"),
    ("Finnish identity code", r"\d{6}[-A]\d{3}[0-9A-FHJ-NPR-Y]", _DATED, "fi.hetu"),
    ("Chinese resident number", r"[1-8]\d{5}(?:19|20)\d\d[01]\d[0-3]\d{4}[\dX]", _LONG, "cn.ric"),
    ("Italian tax code", r"[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]",
     r"[0-9]{2}[A-Z][0-9]{3}[A-Z]", "it.codicefiscale"),
    ("Mexican CURP", r"[A-Z]{4}\d{6}[HM][A-Z]{5}[0-9A-Z]\d", r"[0-9]{6}[HM][A-Z]{5}", "mx.curp"),
)  # fmt: skip

_TWELVE = r"\d{4}(?P<s>[ -]?)\d{4}(?P=s)\d{4}"
# Kind, names, shape, modules. Numbers that only a name nearby identifies.
_BY_NAME: tuple[tuple[str, str, str, str], ...] = (
    ("US social security number", "ssn|social security", r"\d{9}|\d{3} \d\d \d{4}", "us.ssn"),
    ("Aadhaar number", "aadhaar|aadhar|uidai", _TWELVE, "in_.aadhaar"),
    ("Indian PAN", "PAN", r"[A-Z]{3}[ABCFGHLJPT][A-Z]\d{4}[A-Z]", "in_.pan"),
    ("Polish PESEL", "pesel", r"\d{11}", "pl.pesel"),
    ("Dutch BSN", "bsn|burgerservicenummer", r"\d{9}|\d{4}\.\d\d\.\d{3}", "nl.bsn"),
    ("Spanish identity number", "dni|NIE|nif", r"[XYZ]-?\d{7}-?[A-Z]|\d{8}-?[A-Z]", "es.dni es.nie"),
    ("Canadian SIN", "SIN|social insurance", r"\d{3}(?P<s>[ -]?)\d{3}(?P=s)\d{3}", "ca.sin"),
    ("NHS number", "nhs", r"\d{3}(?P<s>[ -]?)\d{3}(?P=s)\d{4}", "gb.nhs"),
    ("Australian tax file number", "tfn|tax file", r"\d{3} ?\d{3} ?\d{3}", "au.tfn"),
    ("German tax number", "steuer-?id|steueridentifikationsnummer|idnr",
     r"\d\d ?\d{3} ?\d{3} ?\d{3}", "de.idnr"),
    ("Swedish personnummer", "personnummer", r"(?:19|20)?\d{6}[-+]?\d{4}", "se.personnummer"),
    ("Danish CPR number", "cpr", r"\d{6}-?\d{4}", "dk.cpr"),
    ("Norwegian birth number", "fødselsnummer|fodselsnummer", r"\d{6} ?\d{5}", "no.fodselsnummer"),
    ("Turkish identity number", "kimlik|tckn", r"\d{11}", "tr.tckimlik"),
    ("South African identity number", "id number|identity number|SA ID",
     r"\d{6} ?\d{4} ?\d{3}", "za.idnr"),
    ("Romanian CNP", "cnp", r"\d{13}", "ro.cnp"),
    ("Japanese individual number", "マイナンバー|個人番号|my number", _TWELVE, "jp.in_"),
    ("French social security number", "sécurité sociale|NIR",
     r"[12] ?\d\d ?\d\d ?\d[\dAB] ?\d{3} ?\d{3} ?\d\d", "fr.nir"),
)  # fmt: skip


def _identity_rule(kind: str, pattern: str, coarse: str, modules: str) -> Rule:
    return Rule(kind, pattern, coarse, _valid(*modules.split()), "national_id")


def _name_rule(kind: str, names: str, shape: str, modules: str) -> Rule:
    def match_any(words: Iterable[str]) -> str:
        # Some are ordinary words in lower case: "sin", "pan", "nie", "nir".
        patterns = (word if word.isupper() else f"(?i:{word})" for word in words)
        return f"(?:{'|'.join(patterns)})"

    words = names.split("|")
    pattern = rf"(?<![A-Za-z]){match_any(words)}(?![A-Za-z0-9])[^\d\n]{{1,24}}?{_delimit(shape)}"
    coarse = match_any(map(to_bytes_pattern, words)) + r"[^\nA-Za-z0-9]"
    return _identity_rule(kind, pattern, coarse, modules)


RULES: tuple[Rule, ...] = (
    Rule("email address",
         r"(?<![A-Za-z0-9._%+-])(?P<value>[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}"
         r"[A-Za-z]{2,24})(?![A-Za-z0-9@-])",
         r"[A-Za-z0-9._%+-]@[A-Za-z0-9]", _is_email, "personal_data"),
    Rule("phone number", _delimit(r"\+[1-9]\d{0,2}(?:[ .-]?\(?\d{1,4}\)?){2,6}"),
         r"\+[1-9][0-9 ().-]{9}", _is_phone, "personal_data"),
    Rule("phone number",
         r"(?<![\w+.(-])(?P<value>(?:\([2-9]\d\d\) ?|[2-9]\d\d-)[2-9]\d\d-\d{4})(?![\w-]|\.\d)",
         _DASHED, _is_phone, "personal_data"),
    Rule("card number",
         r"(?<![\w.+/-])(?<!\d )(?P<value>\d{4}(?P<s>[ -])\d{4}(?P=s)\d{4}(?P=s)\d{4}(?:(?P=s)\d{3})?|"
         r"3\d{3}(?P<t>[ -])\d{6}(?P=t)\d{4,5}|[2-6]\d{13,18})(?![\w/-]|\.\d| \d)",
         rf"{_GROUPED}|{_LONG}", _is_card, "card_number"),
    Rule("bank account number",
         r"(?<![A-Za-z0-9])(?P<value>[A-Z]{2}\d{2}(?:[A-Z0-9]{11,30}|"
         r"(?:[ -][A-Z0-9]{4}){2,7}(?:[ -][A-Z0-9]{1,4})?))(?![A-Za-z0-9])",
         r"[A-Z]{2}[0-9]{2}(?:[A-Z0-9]{6}|[ -][A-Z0-9]{4}[ -][A-Z0-9]{4})",
         lambda match: _account_length(match["value"]) > 0, "bank_account", _account_length),
    *(_identity_rule(kind, _delimit(shape), coarse, modules)
      for kind, shape, coarse, modules in _BY_SHAPE),
    *(_name_rule(*row) for row in _BY_NAME),
)  # fmt: skip
