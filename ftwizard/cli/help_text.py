"""Help of the command line: commands grouped by task, examples, and lines wrapped at words."""

from __future__ import annotations

import argparse
import re
import shutil
import textwrap
from collections.abc import Iterable, Mapping

from ftwizard import word_wrap

MAX_WIDTH = 100
"""Longer lines are hard to read."""
DESCRIPTION = (
    "Without a command, ftwizard opens a wizard to fine-tune an LLM from your terminal. It checks your "
    "data, advises the settings, estimates memory, time and cost, trains in the background, compares "
    "the model with its base, and merges it for serving. Everything that it does is also a command."
)
EPILOG = (
    "exit codes: 0 done · 1 failed, or unusable input · 2 wrong usage or a missing extra · "
    "3 declined by you or a safety rule · 4 cannot tell"
)
BEGINNINGS = {
    "ftwizard": "open the wizard; your runs are listed there, too",
    "ftwizard FILE": "open the wizard with your data, or with a plan",
    "ftwizard demo": "see a small fine-tune end to end, in 4 to 8 minutes",
    "ftwizard help train": "show the options of a command",
}
"""How to begin, and what that does."""
GROUPS = {
    "prepare data": (
        "check",
        "show",
        "columns",
        "edit",
        "mask",
        "split",
        "convert",
        "grader",
        "rewards",
    ),
    "plan and estimate": ("advise", "models", "estimate", "probe", "slurm", "rehearse"),
    "train": ("train", "stop", "resume", "branch", "reproduce"),
    "watch": ("runs", "status", "watch", "diagnose"),
    "finish": (
        "eval",
        "compare",
        "chat",
        "merge",
        "export",
        "serve",
        "verify",
        "card",
        "push",
        "download",
        "deploy",
        "teardown",
        "eject",
        "remove",
    ),
    "this machine": ("doctor", "demo"),
}
"""Commands by task, in the order of the work."""
OTHERS = "more"
"""Title of commands in no group."""
EXAMPLES = {
    "demo": "ftwizard demo --yes",
    "advise": "ftwizard advise rows.jsonl",
    "models": "ftwizard models qwen3",
    "train": "ftwizard train rows.jsonl --model Qwen/Qwen3-0.6B",
    "check": "ftwizard check rows.jsonl --val held-out.jsonl",
    "show": "ftwizard show rows.jsonl --line 3",
    "columns": "ftwizard columns rows.jsonl",
    "edit": "ftwizard edit rows.jsonl --line 3",
    "mask": "ftwizard mask rows.jsonl --model Qwen/Qwen3-0.6B",
    "split": "ftwizard split rows.jsonl --out-train train.jsonl --out-validation val.jsonl",
    "convert": "ftwizard convert rows.jsonl --target openai-sft --out openai.jsonl",
    "grader": "ftwizard grader new grader.py",
    "rewards": "ftwizard rewards plan.yaml",
    "estimate": "ftwizard estimate rows.jsonl --model meta-llama/Llama-3.1-8B-Instruct --gpu 'RTX 4090'",
    "probe": "ftwizard probe plan.yaml --write smaller.yaml",
    "slurm": "ftwizard slurm plan.yaml",
    "runs": "ftwizard runs state:finished model:qwen 'lr>1e-4'",
    "compare": "ftwizard compare --curves",
    "diagnose": "ftwizard diagnose trainer_state.json",
    "branch": "ftwizard branch tickets-1124 --rate-times 0.5",
    "eval": "ftwizard eval tickets-1124 --set my-prompts.jsonl",
    "serve": "ftwizard serve tickets-1124 --port 8000",
    "verify": "ftwizard verify tickets-1124 --server http://localhost:8000/v1 --model tickets-1124",
    "remove": "ftwizard remove tickets-1124",
    "card": "ftwizard card tickets-1124",
    "download": "ftwizard download tickets-1124 --checkpoint 40",
    "deploy": "ftwizard deploy tickets-1124",
    "teardown": "ftwizard teardown tickets-1124",
    "push": "ftwizard push tickets-1124 --repo owner/tickets",
    "rehearse": "ftwizard rehearse plan.yaml",
    "merge": "ftwizard merge tickets-1124",
    "reproduce": "ftwizard reproduce tickets-1124 --watch",
    "eject": "ftwizard eject tickets-1124 --out script",
    "export": "ftwizard export tickets-1124 --to gguf:q4_k_m",
}
"""An example of each command whose arguments need one."""
SYNONYMS = {
    "list": "runs", "ls": "runs", "jobs": "runs", "ps": "runs", "log": "watch", "logs": "watch",
    "monitor": "watch", "attach": "watch", "kill": "stop", "cancel": "stop", "pause": "stop",
    "delete": "remove", "rm": "remove", "validate": "check", "lint": "check", "fix": "check",
    "finetune": "train", "fine-tune": "train", "start": "train", "continue": "resume",
    "restart": "resume", "cost": "estimate", "costs": "estimate", "price": "estimate",
    "memory": "estimate", "fork": "branch", "diff": "compare", "tokens": "mask", "model": "models",
    "result": "status", "results": "status", "report": "status",
    "evaluate": "eval", "score": "eval", "benchmark": "eval", "generate": "chat", "infer": "chat",
    "info": "status", "reward": "rewards", "grpo": "rewards", "rft": "grader", "plan": "train", "gguf": "export", "ollama": "export", "quantize": "export",
    "upload": "push", "publish": "push", "readme": "card",
}  # fmt: skip
"""Words that other tools use, and the command that does it here."""
MISSING_COMMANDS = {
    "version": "Did you mean --version?",
}
"""Commands that one may expect: where the same is."""


class HelpFormatter(argparse.HelpFormatter):
    """Wraps at words, never within one, up to ``MAX_WIDTH``."""

    def __init__(self, prog: str, **options: int | None) -> None:
        width = min(shutil.get_terminal_size().columns - 2, MAX_WIDTH)
        super().__init__(prog, **{"width": width, **options})  # type: ignore[arg-type]

    def _split_lines(self, text: str, width: int) -> list[str]:
        return _wrap(text, width)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(f"{indent}{line}" for line in _wrap(text, width - len(indent)))


class _Wrapper(textwrap.TextWrapper):
    wordsep_simple_re = re.compile(rf"((?!{word_wrap.GLUE})\s+)")


def _wrap(text: str, width: int) -> list[str]:
    """Wrap at spaces; a word that is too long, at its commas."""
    lines: list[str] = []
    words = " ".join(text.split())
    wrapper = _Wrapper(width, break_long_words=False, break_on_hyphens=False)
    for line in wrapper.wrap(words):
        while len(line) > width and (cut := line.rfind(",", 0, width) + 1):
            lines.append(line[:cut])
            line = line[cut:]
        lines.append(line)
    return lines


def format_root_help(
    formatter: argparse.HelpFormatter,
    summaries: Mapping[str, str],
    options: Iterable[argparse.Action],
) -> str:
    """Return the help of ``ftwizard``; ``summaries``: of each command by name."""
    formatter.add_usage("%(prog)s [FILE | COMMAND …]", [], [])
    formatter.add_text(DESCRIPTION)
    _add_section(formatter, "begin", BEGINNINGS)
    grouped = {name for names in GROUPS.values() for name in names}
    others = tuple(name for name in summaries if name not in grouped)
    for title, names in {**GROUPS, OTHERS: others}.items():
        _add_section(formatter, title, {n: summaries[n] for n in names if n in summaries})
    formatter.start_section("options")
    formatter.add_arguments(options)
    formatter.end_section()
    formatter.add_text(EPILOG)
    return formatter.format_help()


def _add_section(formatter: argparse.HelpFormatter, title: str, lines: Mapping[str, str]) -> None:
    formatter.start_section(title)
    for name, summary in lines.items():
        help = summary.replace("%", "%%")
        formatter.add_argument(argparse.Action([], dest=name, metavar=name, help=help))
    formatter.end_section()


def format_example(command: str) -> str | None:
    """Return the example of a command for the end of its help; None if it has none."""
    example = EXAMPLES.get(command)
    return f"example: {example}".replace("%", "%%") if example else None
