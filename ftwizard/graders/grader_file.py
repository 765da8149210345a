"""Python files with a grader: one function ``grade(sample, item)`` that scores an answer.

``sample`` is the answer, ``item`` the row; the score is a float, the higher the better. Nothing in it
depends on a platform, so it can be the reward function of any training that samples answers.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ftwizard import strict_yaml
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.text import format_bytes, make_visible

MAX_SOURCE_BYTES = 256_000
"""OpenAI and Foundry take no longer source."""
REFERENCE = "reference_answer"
"""Field with the right answer that Bedrock requires, and the template reads."""
FUNCTION = "grade"
_NETWORK = {"socket", "http", "urllib", "ftplib", "smtplib", "requests", "httpx", "aiohttp", "openai"}  # fmt: skip
_NOT_ANSWERS = {"messages", "tools", "parallel_tool_calls"}


class GraderFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file with a grader, whose code was read but not run."""

    path: str
    source: str
    fields: tuple[str, ...] = ()
    """Fields of a row that the code names, in order."""
    modules: tuple[str, ...] = ()
    """Modules that it imports, without their submodules."""

    @property
    def name(self) -> str:
        """Return the name of the file without its ending."""
        return Path(self.path).stem

    @property
    def installed(self) -> list[str]:
        """Return the imported modules that do not come with Python."""
        return [name for name in self.modules if name not in sys.stdlib_module_names]

    @property
    def network(self) -> list[str]:
        """Return the imported modules that are for the network."""
        return [name for name in self.modules if name in _NETWORK]


def is_python(name: object) -> bool:
    """Return whether a setting names a file of Python."""
    return isinstance(name, str) and name.endswith(".py")


def require_own_name(path: Path) -> None:
    """Raise FtwizardError for the name of a module of Python, which the file would hide in Lambda."""
    if path.stem in sys.stdlib_module_names:
        raise FtwizardError(
            f"{make_visible(path.name, 100)} has the name of a module of Python, which it would hide.",
            f"Choose another name, such as {path.stem}_grader.py.",
            USAGE,
        )


def read_grader(path: Path) -> GraderFile:
    """Read a grader file without running it; raise FtwizardError for one that cannot be used."""
    shown = make_visible(str(path), 200)
    try:
        source = strict_yaml.read_text(path)
    except FileNotFoundError:
        raise FtwizardError(
            f"The grader file {shown} does not exist.",
            f"Write one from the template: ftwizard grader new {shown}",
        ) from None
    size = len(source.encode())
    if size > MAX_SOURCE_BYTES:
        raise FtwizardError(
            f"{shown} has {format_bytes(size)}; OpenAI takes {format_bytes(MAX_SOURCE_BYTES)}.",
            "Move data out of it, into fields of the rows.",
        )
    return parse_grader(source, str(path))


def parse_grader(source: str, path: str) -> GraderFile:
    """Return the grader with that source; raise FtwizardError for one that cannot be used."""
    shown = make_visible(path, 200)
    tree = _parse(source, shown)
    _check_function(tree, shown)
    return GraderFile(
        path=path,
        source=source,
        fields=tuple(dict.fromkeys(_iterate_fields(tree))),
        modules=tuple(dict.fromkeys(_iterate_modules(tree))),
    )


def _parse(source: str, shown: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError as error:
        reason = make_visible(error.msg or "invalid syntax", 200)
        raise FtwizardError(
            f"{shown} is not valid Python: {reason} (line {error.lineno}).", "Correct that line."
        ) from None
    except (ValueError, RecursionError, MemoryError):  # a null byte; or nested too deep
        raise FtwizardError(f"{shown} is not valid Python.", "Write it anew as text.") from None


def _check_function(tree: ast.Module, shown: str) -> None:
    """Raise FtwizardError unless the file has ``grade(sample, item)``."""
    hint = (
        f"Define it: def {FUNCTION}(sample, item) -> float. Template: ftwizard grader new FILE.py"
    )
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    functions = [node for node in tree.body if isinstance(node, kinds) and node.name == FUNCTION]
    if not functions:
        raise FtwizardError(f"{shown} has no function {FUNCTION}.", hint)
    function = functions[-1]
    arguments = function.args
    count = len(arguments.posonlyargs) + len(arguments.args)
    required = count - len(arguments.defaults)
    needs_more = any(default is None for default in arguments.kw_defaults)
    where = f"{FUNCTION} of {shown} (line {function.lineno})"
    if isinstance(function, ast.AsyncFunctionDef):
        raise FtwizardError(f"{where} is async, and graders are not awaited.", hint)
    takes_two = required <= 2 and (count >= 2 or arguments.vararg is not None)
    if not takes_two or needs_more:
        raise FtwizardError(f"{where} does not take sample and item.", hint)


def _walk(tree: ast.Module) -> list[ast.expr | ast.stmt]:
    """Return the expressions and statements in the order of the text."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.expr | ast.stmt)]
    return sorted(nodes, key=lambda node: (node.lineno, node.col_offset))


def _iterate_fields(tree: ast.Module) -> Iterator[str]:
    """Yield the constants in ``item["…"]`` and ``item.get("…")``."""
    for node in _walk(tree):
        key: ast.expr | None = None
        if isinstance(node, ast.Subscript) and _is_item(node.value):
            key = node.slice
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "get"
            and _is_item(node.func.value)
            and node.args
        ):
            key = node.args[0]
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield key.value


def _is_item(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "item"


def _iterate_modules(tree: ast.Module) -> Iterator[str]:
    for node in _walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0] or "."


def make_sample(text: str) -> dict[str, Any]:
    """Return an answer as a grader gets it: ``output_text``, and ``output_json`` if it is JSON."""
    sample: dict[str, Any] = {"output_text": text, "output_tools": []}
    try:
        sample["output_json"] = json.loads(text)
    except (ValueError, RecursionError):
        sample["output_json"] = None
    return sample


def find_reference(row: Mapping[str, Any], fields: Iterable[str]) -> str:
    """Return a row's right answer as a model would write it; empty if the row has none.

    It is the first of ``fields`` that the row has, else the first of its own fields.
    """
    for name in [*fields, REFERENCE, *row]:
        value = row.get(name)
        if value is not None and name not in _NOT_ANSWERS:
            return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return ""
