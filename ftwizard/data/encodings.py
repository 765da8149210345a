"""How texts become tokens where data can go: the encodings of assets/tokens.toml.

Where a tokenizer is public its vocabulary is here; where it is not, another stands for it, with a
factor and a range, and says so.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import msgspec

from ftwizard.data.targets import Target
from ftwizard.errors import MissingExtra

Vocabulary = Literal["cl100k_base", "o200k_base", "o200k_harmony", "llama3", "qwen3"]
"""Those that quicktok brings along."""
Count = Callable[[str], int]
"""Text → tokens. Text that spells a special token is text; it never raises."""
Three = tuple[float, float, float]
"""Lowest, likely, highest."""
# ft:gpt-4o…, us.anthropic.claude…, meta.llama3…, Meta-Llama-3…
_MAKER = re.compile(r"(?:ft:)?(?:[a-z]+\.)*(?:meta-)?")
_NUMBER_GOES_ON = re.compile(r"\.?\d")


class Encoding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way of counting."""

    name: str
    vocabulary: Vocabulary | None = None
    folder: str | None = None
    """Of a model with its own ``tokenizer.json``, in place of a vocabulary."""
    own: bool = True
    """The tokenizer is the very one; False: it stands for one that is not public or not here."""
    factor: Three = (1.0, 1.0, 1.0)
    """Tokens there for one counted here."""
    per_row: int = 0
    per_message: int = 0
    """Tokens around a message, besides those of its role."""
    end: int = 0
    """Of these, tokens that end an answer and are learnt with it."""
    added: int = 0
    """Tokens that a chat template may put into a row beyond these; 0 where that is known."""
    pictures: tuple[int, int, int] | None = None
    """Tokens of one picture; None where nobody says."""
    sources: tuple[str, ...]
    as_of: str

    @property
    def words(self) -> str:
        """Return what it is called where it is shown."""
        if self.own:
            return self.name
        return f"an estimate for {self.name}" if self.name != self.vocabulary else (
            f"{self.name} as an approximation"
        )  # fmt: skip

    @property
    def is_exact(self) -> bool:
        """Say whether text alone is counted as it is there, to the token."""
        return self.own and not self.added


class _Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    names: tuple[str, ...]
    encoding: str
    own: bool = True


class _Table(msgspec.Struct, frozen=True):
    encodings: tuple[Encoding, ...]
    models: tuple[_Choice, ...]
    targets: tuple[_Choice, ...]
    approximation: dict[str, Three]


def choose(target: Target, model: str | None = None) -> Encoding:
    """Return how tokens are counted for a target, with the tokenizer of ``model`` if one is named.

    A model whose tokenizer is not known is counted as the target's default, as an approximation.
    """
    table = _table()
    default = next(c for c in table.targets if target.name in c.names)
    if model is None:
        return _named(default.encoding, default.own)
    found = _of_model(model)
    return _named(found.encoding, found.own) if found else _named(default.encoding, own=False)


def of_folder(folder: Path, name: str) -> Encoding:
    """Return the encoding of a model whose ``tokenizer.json`` is in ``folder``.

    What its chat template adds is not known to it: counts with the template are made where rows
    are trained.
    """
    return Encoding(
        name=name, folder=str(folder), per_message=4, end=1, added=40, as_of="",
        sources=("the tokenizer of the model itself; what its template adds is assumed",),
    )  # fmt: skip


def counter(encoding: Encoding) -> Count:
    """Return what counts the tokens of a text.

    Raises MissingExtra for the tokenizer of a folder where the package tokenizers is missing.
    """
    if encoding.folder is not None:
        return _of_file(Path(encoding.folder) / "tokenizer.json")
    assert encoding.vocabulary is not None
    return _of_vocabulary(encoding.vocabulary)


@functools.cache
def _of_vocabulary(name: Vocabulary) -> Count:
    import quicktok

    bare: Count = quicktok.get_encoding(name).count

    def count(text: str) -> int:
        try:
            return bare(text)
        except UnicodeEncodeError:  # half of a surrogate pair
            return bare(text.encode("utf-8", "replace").decode())

    return count


def _of_file(path: Path) -> Count:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise MissingExtra("local", "tokenizers") from None
    tokenizer: Any = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True  # what looks like a special token is text
    tokenizer.no_truncation()

    def count(text: str) -> int:
        text = text.encode("utf-8", "replace").decode()
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    return count


def _named(name: str, own: bool) -> Encoding:
    table = _table()
    found = next(e for e in table.encodings if e.name == name)
    if own:
        return found
    same = found.factor == (1.0, 1.0, 1.0)
    factor = table.approximation["factor"] if same else found.factor
    return msgspec.structs.replace(found, own=False, factor=factor)


def _of_model(model: str) -> _Choice | None:
    """Return the choice with the longest name that the model's begins with."""
    bare = _MAKER.sub("", model.lower().rpartition("/")[2], count=1)
    best, length = None, 0
    for choice in _table().models:
        for name in choice.names:
            if len(name) > length and _begins(bare, name):
                best, length = choice, len(name)
    return best


def _begins(model: str, name: str) -> bool:
    """Say whether ``name`` is the beginning of a model's, and not of another version's number."""
    if not model.startswith(name):
        return False
    return not (name[-1].isdigit() and _NUMBER_GOES_ON.match(model[len(name) :]))


@functools.cache
def _table() -> _Table:
    data = tomllib.loads(files("ftwizard").joinpath("assets", "tokens.toml").read_text("utf-8"))
    return msgspec.convert(data, _Table, strict=False)
