"""Quantities in text: numbers as people and models write them, with units."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from typing import NamedTuple

_OPERATOR = re.compile(r"\s*[-+*/×÷^=<>≈x](?![a-z])")
_NUMBER = re.compile(
    r"""
    (?P<sign>(?<![\w.)\]])[-−]\s?)?
    (?P<currency>[$€£¥₹]\s?(?P<inner>[-−])?)?
    (?:
      (?P<whole>\d+)[ ](?P<over>\d+)/(?P<under>[1-9]\d*)(?![\d/])
    | (?<![\d/])(?P<top>\d+)\s?/\s?(?P<bottom>[1-9]\d*)(?![\d/])
    | (?P<grouped>[1-9]\d{0,2}(?:(?P<mark>[,'’ ])\d{3})(?:(?P=mark)\d{3})*(?:[.,]\d+)?)(?!\d)
    | (?P<dotted>[1-9]\d{0,2}(?:\.\d{3})+,\d+|[1-9]\d{0,2}(?:\.\d{3}){2,})(?!\d)
    | (?P<plain>\d+\.\d+|\d+,\d+(?![,\d])|\d+|(?<!\d)\.\d+)
    )
    (?:[eE](?P<e>[-+]?\d{1,2})(?!\w)|\s?[×x*·]\s?10\s?\^\s?\{?(?P<power>[-−]?\d{1,2})(?!\d)\}?
      |\^\{?(?P<raised>\d)(?!\d)\}?)?
    (?:\s?(?P<scale>thousand|million|billion|trillion|k(?![\w])|bn\b))?
    (?:[\s-]?(?P<unit>degrees\s\w+|°[CF]|per\s?cent|[%€£¥₹]|[A-Za-zµμ]+(?:/[a-z]+|[23])?))?
    """,
    re.VERBOSE,
)
_SCALES = {"thousand": 1e3, "k": 1e3, "million": 1e6, "billion": 1e9, "bn": 1e9, "trillion": 1e12}
_UNIT_TABLE = """
length mm 0.001 millimeter millimetre; cm 0.01 centimeter centimetre; m 1 meter metre;
 km 1000 kilometer kilometre; inch 0.0254 inches; ft 0.3048 foot feet; yd 0.9144 yard;
 mi 1609.344 mile
mass mg 0.001 milligram; g 1 gram gramme; kg 1000 kilogram kilo; t 1000000 tonne;
 lb 453.59237 lbs pound; oz 28.349523125 ounce
time ms 0.001 millisecond; s 1 sec second; min 60 minute; h 3600 hr hrs hour; day 86400; week 604800
years month 1; year 12
volume ml 0.001 milliliter millilitre; cl 0.01; l 1 liter litre
speed km/h 1 kph kmh; mph 1.609344; m/s 3.6
dollars $ 1 usd dollar; cent 0.01
euros € 1 eur euro
pounds £ 1 gbp
yen ¥ 1 jpy yen
rupees ₹ 1 inr rupee
percent % 1 percent
celsius °c 1 celsius
fahrenheit °f 1 fahrenheit
"""
_SMALL = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen
"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_WORDS = {name: n for n, name in enumerate(_SMALL.split())} | {
    n: 20 + 10 * i for i, n in enumerate(_TENS.split())
}
_MULTIPLES = {"hundred": 100, "thousand": 1000, "million": 10**6}
_NAMES = "|".join(sorted(_WORDS | _MULTIPLES, key=len, reverse=True))
_WORD_RUN = re.compile(rf"\b(?:{_NAMES})(?:(?:[ -]|[ ]and[ ])(?:{_NAMES}))*\b", re.IGNORECASE)
_HALF = re.compile(rf"\b(?:({_NAMES})|(\d+)) and a half\b", re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\s?\{([^{}]*)\}|####\s*([^\n]*)")
_MARKED = re.compile(
    r"\b(?:answer|result|solution|respuesta|resultado|réponse|résultat|antwort|ergebnis|risposta|"
    r"resposta)\b(?:\s+(?:is|was|equals|would be|will be|es|est|ist|lautet|è|é))?(?:\s+(?:about|"
    r"approximately|exactly|therefore|then))?\s*[:=≈]?\s*",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"(?<![\d:])\d{1,2}:\d\d(?::\d\d)?(?![\d:])")
_AFTER_NUMBER = re.compile(r"(?:\s[^\W\d_]{3,})*[\s.!]*")
_FIRST_END = re.compile(r"(?:\s+[^\W\d]+){0,2}\s*(?:$|[.,;:(\n])")


class Quantity(NamedTuple):
    """A number in a text."""

    value: float
    """In its own unit."""
    unit: str
    """As in the unit table; empty if it has none that is in the table."""
    start: int
    end: int
    """Its position in the cleaned text."""


class _Unit(NamedTuple):
    dimension: str
    factor: float


def _read_units() -> dict[str, _Unit]:
    units: dict[str, _Unit] = {}
    for row in _UNIT_TABLE.replace("\n ", " ").strip().splitlines():
        dimension, _, entries = row.partition(" ")
        for entry in entries.split(";"):
            symbol, factor, *names = entry.split() if " " in entry.strip() else [entry.strip(), "1"]
            for name in (symbol, *names):
                units[name] = units[f"{name}s"] = _Unit(dimension, float(factor))
    return units


_UNITS = _read_units()


def find_quantity(text: str, asked: Collection[float] = ()) -> Quantity | None:
    """Return the number that an answer gives; None if it has none.

    Of several it is, in this order: that in ``\\boxed{}`` or after ``####``, that after “the answer
    is”, the only one in bold, the first if it stands alone at the beginning, and the last;
    of the last ones, not one of ``asked``, the numbers of the question: “180 minutes are 3 hours”.
    """
    cleaned = _clean(text)
    for match in reversed(list(_BOXED.finditer(cleaned))):
        if inner := _find_all(match[1] or match[2] or ""):
            return inner[-1]
    bold = re.findall(r"\*\*([^*\n]{1,60})\*\*", cleaned)
    plain = cleaned.replace("*" * 2, "").replace("__", "").strip(" *_#>\n")
    numbers = _find_all(plain)
    if numbers and all(number.value in asked for number in numbers) and _WORD_RUN.search(plain):
        return find_quantity(_to_digits(plain), asked)  # “9 times 6 is fifty-four”
    if not numbers:
        return None
    for match in reversed(list(_MARKED.finditer(plain))):
        marked = next((n for n in numbers if n.start == match.end()), None)
        if marked and not _OPERATOR.match(plain, marked.end):
            return marked
    emphasized = [n for span in bold for n in _find_all(span)]
    if len(emphasized) == 1 and len(bold) == 1:
        return emphasized[0]
    first = numbers[0]
    if first.start == 0 and _FIRST_END.match(plain, first.end):
        return first
    return next((n for n in reversed(numbers) if n.value not in asked), numbers[-1])


def read_quantity(text: str) -> Quantity | None:
    """Return the number that a text is, with words after it at most; else None: “2x”, “(1, 2)”."""
    plain = _clean(text).strip(" $*_")
    numbers = _find_all(plain)
    is_whole = len(numbers) == 1 and not plain[: numbers[0].start].strip()
    return numbers[0] if is_whole and _AFTER_NUMBER.fullmatch(plain, numbers[0].end) else None


def list_numbers(text: str) -> set[float]:
    """Return the values of all numbers in a text, in digits or words."""
    words = {float(_read_words(match[0])) for match in _WORD_RUN.finditer(text)}
    return words | {quantity.value for quantity in _find_all(_clean(text))}


def is_same(expected: Quantity, answer: Quantity, tolerance: float | str | None = None) -> bool:
    """Return whether two quantities are equal, within a tolerance.

    ``tolerance``: a number in the unit of ``expected``, or a share of it such as ``"1%"``. An answer
    without a unit is taken to have the expected one; without an expected unit, that of the answer
    does not matter, and 5% also equals 0.05.
    """
    margin = _read_tolerance(tolerance, expected.value)
    margin = max(margin, 1e-9 * abs(expected.value), 1e-12)
    values = [answer.value]
    if expected.unit and answer.unit:
        wanted, unit = _UNITS[expected.unit], _UNITS[answer.unit]
        if wanted.dimension != unit.dimension:
            return False
        values = [answer.value * unit.factor / wanted.factor]
    elif answer.unit and _UNITS[answer.unit].dimension == "percent":
        values.append(answer.value / 100)
    return any(abs(value - expected.value) <= margin for value in values)


def _read_tolerance(tolerance: float | str | None, value: float) -> float:
    """Return a tolerance as a margin; raise ValueError if it is neither a number nor a share."""
    if tolerance is None:
        return 0.0
    text = str(tolerance).strip()
    margin = float(text.removesuffix("%"))
    if not 0 <= margin < float("inf"):
        raise ValueError
    return margin / 100 * abs(value) if text.endswith("%") else margin


def check_tolerance(tolerance: float | str | None) -> None:
    """Raise ValueError if a tolerance is neither a number nor a share."""
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float | str | None):
        raise ValueError(tolerance)  # noqa: TRY004 (a value of a file, not an argument)
    _read_tolerance(tolerance, 1.0)


def _clean(text: str) -> str:
    """Return the text with fractions, powers, LaTeX and number words in plain digits."""
    text = re.sub(r"(?<=\d)(?=[¼-¾⅐-⅞])", " ", text)
    text = re.sub(r"(?<=\d)(?=[⁰¹²³⁴-⁹⁻])", "^", text)
    text = unicodedata.normalize("NFKC", text).replace("⁄", "/")
    text = re.sub(r"\\[dt]?frac\s?\{(\d+)\}\s?\{(\d+)\}", r" \1/\2", text)
    text = re.sub(r"\\(?:times|cdot)\b", "×", text)
    text = re.sub(r"\\(?=[$%,])|\\(?:text|mathrm)\b|(?<=\d)\{,\}", "", text)
    text = _HALF.sub(lambda match: f"{_read_words(match[1]) if match[1] else match[2]}.5", text)
    text = re.sub(r"\b(?:minus|negative)\s+(?=\w)", "-", text, flags=re.IGNORECASE)
    if not re.search(r"\d", text):
        text = _to_digits(text)
    return text


def _to_digits(text: str) -> str:
    return _WORD_RUN.sub(lambda match: str(_read_words(match[0])), text)


def _read_words(run: str) -> int:
    """Return the value of number words: “two hundred and five”."""
    total = part = 0
    for word in re.split(r"[ -]+", run.lower()):
        if word in _WORDS:
            part += _WORDS[word]
        elif word == "hundred":
            part = max(part, 1) * 100
        elif word in _MULTIPLES:
            total, part = total + max(part, 1) * _MULTIPLES[word], 0
    return total + part


def _find_all(text: str) -> list[Quantity]:
    text = _CLOCK.sub(lambda match: " " * len(match[0]), text)
    return [_read_match(match) for match in _NUMBER.finditer(text)]


def _read_match(match: re.Match[str]) -> Quantity:
    value = _read_value(match)
    exponent = match["e"] or (match["power"] or "").replace("−", "-")
    if exponent:
        value *= 10.0 ** int(exponent)
    if match["raised"]:
        value = _raise(value, int(match["raised"]))
    value *= _SCALES.get((match["scale"] or "").lower(), 1.0)
    unit = _find_unit((match["currency"] or "").rstrip(" -−") or match["unit"] or "")
    negative = match["sign"] or match["inner"]
    end = match.end()
    if match["unit"] and not unit:
        end = len(match.string[: match.start("unit")].rstrip(" -\n"))
    return Quantity(-value if negative else value, unit, match.start(), end)


def _raise(value: float, power: int) -> float:
    try:
        return float(value**power)
    except OverflowError:
        return float("inf")


def _read_value(match: re.Match[str]) -> float:
    if match["whole"]:
        return float(match["whole"]) + float(match["over"]) / float(match["under"])
    if match["top"]:
        return float(match["top"]) / float(match["bottom"])
    if match["grouped"]:
        whole = match["grouped"].replace(match["mark"], "")
        return float(whole.replace(",", "."))
    if match["dotted"]:
        return float(match["dotted"].replace(".", "").replace(",", "."))
    return float(match["plain"].replace(",", "."))


def _find_unit(name: str) -> str:
    name = re.sub(r"\s+", " ", name).lower().removeprefix("degrees ").replace("per cent", "percent")
    return name if name in _UNITS else ""
