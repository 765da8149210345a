"""Structure of the package in figures: modules, sizes, names, import cycles, README length.

python -m tests.benchmarks.structure
"""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.paths import ROOT

BANNED = ["found", "one", "said", "what", "come", "told", "place", "given", "seen", "way"]
"""Variable names that do not describe their content."""


def list_modules(folder: Path) -> list[Path]:
    """List the modules of the package, without following the symlinks to screens and assets."""
    inside = [path for path in folder.rglob("*.py") if "assets" not in path.parts]
    return sorted({path.resolve() for path in inside})


def bound_names(tree: ast.AST) -> Iterator[str]:
    """Yield every name that is bound: variables, parameters, fields, functions, classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def describe(sizes: list[int]) -> str:
    """Format median, 95th percentile and maximum."""
    ordered = sorted(sizes)
    high = ordered[int(0.95 * (len(ordered) - 1))]
    return f"p50 {statistics.median(ordered):.0f} · p95 {high} · max {ordered[-1]}"


def count_cycles(trees: Mapping[str, ast.AST]) -> int:
    """Count the modules that are part of an import cycle, lazy imports included."""
    edges: dict[str, set[str]] = {name: set() for name in trees}
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    target = f"{node.module}.{alias.name}"
                    edges[name].add(target if target in trees else node.module)
    while leaves := [name for name, targets in edges.items() if not targets & edges.keys()]:
        for leaf in leaves:
            del edges[leaf]
    return sum(name in _reachable(edges, name) for name in edges)


def _reachable(edges: dict[str, set[str]], start: str) -> set[str]:
    reached: set[str] = set()
    stack = [start]
    while stack:
        for target in edges.get(stack.pop(), ()):
            if target not in reached:
                reached.add(target)
                stack.append(target)
    return reached


def read_sentences(text: str) -> list[int]:
    """Return the sentence lengths (words) of a Markdown text, without code and tables."""
    text = re.sub(r"```.*?```|<!--.*?-->|!\[.*?\]\(.*?\)", "", text, flags=re.DOTALL)
    lines = [line for line in text.splitlines() if not line.startswith(("|", "#"))]
    sentences = re.split(r"(?<=[.!?:])\s+|\n\s*[-*] |\n\n", "\n".join(lines))
    return [len(sentence.split()) for sentence in sentences if len(sentence.split()) > 2]


def main() -> None:
    package = ROOT / "ftwizard"
    files = [*list_modules(package), *list_modules(ROOT / "screens")]
    trees = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(path.read_text())
        for path in files
    }
    trees = {
        f"ftwizard.{name}" if name.startswith("screens") else name.removesuffix(".__init__"): tree
        for name, tree in trees.items()
    }
    functions = [
        (node.end_lineno or 0) - node.lineno + 1
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    names = Counter(name for tree in trees.values() for name in bound_names(tree))
    banned = sum(names[name] for name in BANNED)
    lines = [len(path.read_text().splitlines()) for path in files]
    readme = (ROOT / "README.md").read_text()
    sentences = read_sentences(readme)
    count = subprocess.check_output(["git", "ls-files", "tests/**/*.py"], cwd=ROOT, text=True)
    print(f"modules            {len(files)}, at the root {len(list(package.glob('*.py')))}")
    print(f"product lines      {sum(lines):,} (tests: {len(count.splitlines())} files)")
    print(f"module lines       {describe(lines)}")
    print(f"function lines     {describe(functions)}")
    print(f"banned names       {banned / names.total():.2%} of {names.total():,} (goal < 0.5 %)")
    print(f"modules in cycles  {count_cycles(trees)} (goal 0)")
    print(f"README             {len(readme.split())} words, median sentence "
          f"{statistics.median(sentences):.0f} words")  # fmt: skip


if __name__ == "__main__":
    main()
