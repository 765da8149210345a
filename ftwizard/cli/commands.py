"""Commands and their arguments, as tables; importing them imports nothing heavy."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeVar, get_args

from ftwizard.data.format_names import FormatChoice, TargetName
from ftwizard.hosted_platforms import PLATFORMS

RISKS = ("no-validation", "many-epochs", "skip-bad-rows", "secrets", "weak-grader")
"""Values of ``plan.RiskName``, without importing it to parse."""
HOSTED = tuple(PLATFORMS)
GRADER_ACTIONS = ("new", "try", "lambda")
GRADER_KINDS = ("exact", "number", "json")
"""Values of ``template.GraderKind``, without importing it to parse."""
SCORERS = (
    "auto", "numeric", "boxed", "choice", "json", "tool_call", "normalized", "exact", "date", "code",
    "extracted", "judge", "chrf", "rouge",
)  # fmt: skip
"""Values of ``evaluate.scorer`` in a plan, without importing it to parse."""
MAX_VALIDATION = 0.5
MAX_COUNT = 10**12
"""Maximum of examples, tokens and requests: more is a typo."""
MAX_EPOCHS = 100
"""As in a plan."""
MAX_MINUTES = 10_000
MAX_SCALE = 10
"""Of an adapter's strength: sweeps stay below 2."""
EPOCHS = 3.0
"""Epochs by default, as in a plan."""
METHODS = ("lora", "qlora", "full")
EDITIONS = ("2026-04", "current")
SORTS = ("provider", "name", "training", "input", "output", "hosting", "monthly", "break_even")
Argument = tuple[str, dict[str, Any]]
"""An argument's name, and its keywords for ``add_argument``."""
_COUNT_UNITS = {"k": 1e3, "m": 1e6}
_Number = TypeVar("_Number", int, float, Decimal)


def _value(name: str, metavar: str | None, help: str, **keywords: Any) -> Argument:
    """Return an argument with a value, which must not be blank unless ``type`` allows it."""
    return name, {"metavar": metavar, "help": help, "type": parse_text, **keywords}


def parse_text(text: str) -> str:
    """Return ``text``; refuse blanks, which an unset variable of a script leaves."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the value is empty")
    return text


def _switch(name: str, help: str, **keywords: Any) -> Argument:
    """Return an option without a value."""
    return name, {"action": "store_true", "help": help, **keywords}


def _values(name: str, metavar: str, help: str) -> Argument:
    """Return a repeatable option."""
    return _value(name, metavar, help, action="append", default=[])


def _choice(
    name: str, metavar: str | None, help: str, choices: tuple[str, ...], **more: Any
) -> Argument:
    """Return an option whose help lists its choices."""
    return _value(name, metavar, help + ", ".join(choices), choices=choices, type=str.lower, **more)


def _number(
    kind: type[_Number], maximum: float, units: Mapping[str, float] = _COUNT_UNITS
) -> Callable[[str], _Number]:
    """Return a parser of numbers above 0 and up to ``maximum``, also with a unit: ``1k``."""
    wanted = "a whole number from 1 to" if kind is int else "a number above 0 and up to"

    def parse_number(text: str) -> _Number:
        digits = text if issubclass(kind, float) else text.replace(",", "").replace("_", "")
        unit = digits.lstrip("0123456789. ").lower()
        factor = units.get(unit)
        with contextlib.suppress(ValueError, ArithmeticError):
            number = kind(digits if factor is None else float(digits[: -len(unit)]) * factor)
            if 0 < number <= maximum:
                return number
        raise argparse.ArgumentTypeError(f"{text} is not {wanted} {maximum:,}")

    return parse_number


def _parse_lines(text: str) -> tuple[int, ...]:
    """Parse line numbers: ``3,17,20``."""
    with contextlib.suppress(ValueError):
        lines = tuple(int(part) for part in text.split(","))
        if min(lines) > 0:
            return lines
    raise argparse.ArgumentTypeError(f"{text} is not a list of lines, such as 3,17,20")


_AMOUNT = _number(Decimal, MAX_COUNT)
_MINUTES = _number(float, MAX_MINUTES, {"m": 1, "min": 1, "h": 60})
JSON = _switch("--json", "print one JSON document")
PLAN = _value("plan", "PLAN", "plan (YAML file)")
SHOWN_RUN = _value("run", "RUN", "run id (default: the one running, else the newest)", nargs="?")
NAME = _value("--name", "ID", "run id (default: from plan and time)")
FOLLOW = _switch("--watch", "follow the run until it ends")
ALLOW = _values("--allow", "NAME", f"allow a risk: {', '.join(RISKS)} (repeatable)")
ALLOW_BAD_ROWS = _values("--allow", "NAME", f"allow a risk: {RISKS[2]}")
PRICE = _values("--price", "machine=USD", "hourly price of this machine, for the cost of the run")
_UNSET = {"default": argparse.SUPPRESS}
"""A default of a subcommand would override ``ftwizard --ascii watch RUN``."""
VIEW = (
    _switch("--plain", "lines of text instead of screens", **_UNSET),
    _switch("--ascii", "use ASCII characters only", **_UNSET),
    _switch("--slow", "redraw rarely, for slow connections (otherwise automatic)", **_UNSET),
)
READ = (
    _values("--columns", "PART=COLUMN,…",
            "columns of rows in no known format: prompt=question_text,completion=gold_reply"),
    _value("--encoding", "NAME", "encoding of a text file that is not UTF-8: windows-1252, gb18030"),
)  # fmt: skip
DATA = (
    _value("data", "DATA",
           "data file, or a data set on the Hugging Face Hub: owner/name[/config][:split]"),
    _choice("--format", "FORMAT", "data format (default: detected): ", get_args(FormatChoice),
            default="auto"),
    *READ,
)  # fmt: skip
TARGETS = get_args(TargetName)
MAX_LENGTH = "maximum tokens per example (default: 1024, as in a plan)"
COMMANDS: tuple[tuple[str, str, str, tuple[Argument, ...]], ...] = (
    ("demo", "run a small fine-tune end to end in 4 to 8 minutes", "demo:demo", (
        _switch("--yes", "ask nothing; print progress line by line"),
        _switch("--forget", "train without general rows, to see a model forget what it could do"), *VIEW,
    )),
    ("advise", "compare providers for this machine, your answers and your data", "advise:advise", (
        _value("data", "DATA",
               "data file, or the output of check --json, on which to base the advice", nargs="?"),
        _values("--answer", "ID=OPTION",
                "answer one of the questions that advise lists (repeatable)"),
        *READ,
    )),
    ("models", "list models to train: size, license, and whether they fit this machine",
     "models:list_models", (
        _value("words", "WORD|DATA", "search terms: llama 8b, qwen3, apache (also searches the Hub); "
               "a data file, for whose rows the models are judged",
               nargs="*", type=str),
        _switch("--all", "list all matches, not only the first 20"),
    )),
    ("train", "start a run in the background and print its id", "train:train", (
        _value("plan", "PLAN|DATA",
               "plan (YAML); with --model a data file, or a data set on the Hugging Face Hub"),
        NAME, FOLLOW, PRICE, *VIEW,
        _switch("--yes", "ask nothing before rows are uploaded (training here never asks)"),
        _switch("--dry-run", "for a hosted plan: show what would be uploaded and its cost"),
        ALLOW,
    )),
    ("check", "check a data set before training", "check:check", (
        *DATA,
        _choice("--target", "T", "provider and method to train on (default: detected): ", TARGETS),
        _value("--val", "FILE", "validation data, checked too"),
        _value("--model", "M", "count tokens with the tokenizer and chat template of this model"),
        _value("--max-length", "L", MAX_LENGTH, type=int),
        _value("--count", None,
               "count tokens of all rows, of a sample, or not (default: exact up to 1 GB)",
               choices=("exact", "estimate", "no")),
        _switch("--no-near", "skip the near-duplicate check"),
        _value("--fix", "OUT", "write a fixed copy, list the changes in OUT.changes.jsonl, and "
               "check the copy; exits 1 if rows were left out"),
        _switch("--redact", "with --fix: replace secrets with placeholders"),
        _switch("--leave-out-long", "with --fix: leave out rows that are longer than --max-length"),
    )),
    ("show", "show rows as they are read, with the findings of each", "show:show", (
        *DATA,
        _value("--line", "N", "show the row at this line (repeatable)",
               type=int, action="append", required=True),
        _value("--target", "T", "provider and method whose rules apply (default: detected)",
               choices=TARGETS),
    )),
    ("columns", "show the columns of a file, and how a mapping reads its rows", "columns:columns", (
        _value("data", "DATA",
               "data file, or a data set on the Hugging Face Hub: owner/name[/config][:split]"),
        *READ,
    )),
    ("edit", "print a row to edit it, and write a file in which it is replaced", "edit:edit", (
        _value("data", "DATA", "data file"),
        _value("--line", "N", "line of the row, as check and show count them",
               type=int, required=True),
        _value("--out", "NEW", "file to write; without it, the row is printed"),
        _value("--row", "FILE", "the new row; - reads it (default: edited in $VISUAL or $EDITOR)"),
        READ[1],
    )),
    ("mask", "show the loss mask: which tokens are trained on", "mask:mask", (
        *DATA,
        _value("--model", "M", "folder, or model on the Hugging Face Hub", required=True),
        _value("--row", "N", "show the row at this line (default: the first row)", type=int),
        _value("--max-length", "L", MAX_LENGTH, type=int, default=1024),
        _switch("--packing", "pack several examples into one sequence"),
    )),
    ("split", "split a file into a training and a validation file", "split:split", (
        *DATA,
        _value("--out-train", "FILE", "new file for the training rows", required=True),
        _value("--out-validation", "FILE", "new file for the validation rows", required=True),
        _value("--validation", "SHARE",
               f"share of the rows for validation, up to {MAX_VALIDATION} (default: 0.1)",
               type=_number(float, MAX_VALIDATION, {"%": 0.01}), default=0.1),
        _value("--seed", "N", "random seed (default: 42)", type=int, default=42),
        _choice("--target", "T", "provider and method to train on (default: detected): ", TARGETS),
        ALLOW_BAD_ROWS,
    )),
    ("convert", "convert data to the format of a provider", "convert:convert", (
        *DATA,
        _choice("--target", "T", "provider and method to train on: ", TARGETS, required=True),
        _value("--out", "FILE", "new file; never overwrites one", required=True),
        _choice("--as", "FORMAT", "format of conversations, where the target accepts several (default: "
                "the one that keeps the most): ",
                ("openai-chat", "prompt-completion", "bedrock-converse"), dest="written_as"),
        _value("--answer-field", "NAME", "for RFT: make prompts of conversations, with the last answer in "
               "this field, such as reference_answer"),
        _switch("--skip-bad", "exit 0 even if rows were left out (usable rows are always written)"),
    )),
    ("grader", "write, try and pack a grader in Python, for reinforcement", "grader:grader", (
        _choice("action", "ACTION", "what to do: ", GRADER_ACTIONS),
        _value("file", "FILE.py", "grader: a file with the function grade(sample, item)"),
        _value("--rows", "DATA", "with try: data file with rows to grade, or a data set on the Hub"),
        _value("--field", "NAME", "with new and try: field of a row with the right answer (default: "
               "reference_answer; with try, the one that the grader reads)"),
        _choice("--kind", "KIND", "with new: the example to begin with (default: exact): ",
                GRADER_KINDS),
        _value("--time-limit", "S", "with try: seconds for one answer (default: 20)",
               type=_number(float, 600, {"s": 1})),
        _value("--out", "FILE", "with lambda: file to write (default: lambda_function.py, next to the "
               "grader)"),
        _value("--region", "REGION", "with lambda: AWS region of the job (default: us-east-1)"),
        *READ,
    )),
    ("rewards", "try reward functions on ten rows, before training with them (GRPO)", "rewards:rewards", (
        _value("rewards", "PLAN|REWARD",
               "plan (YAML), or reward functions: numeric_answer, 'length_limit={max: 50}', rewards.py:my_reward",
               nargs="+"),
        _value("--data", "DATA", "data file with rows to try them on, or a data set on the Hub"),
        _value("--rows", "N", "rows to try (default: 10)", type=_number(int, 1000), default=10),
        _value("--column", "NAME", "column with the right answer, of rows without an answer (default: "
               "one that is named so)"),
        _value("--template", "TEXT", "form of a right answer: '<answer>{answer}</answer>' (default: "
               "the answer alone)"),
        *READ,
    )),
    ("estimate", "estimate cost on every provider; for a plan, also memory, time and disk",
     "estimate:estimate", (
        _value("plan", "PLAN|DATA",
               "plan (YAML); with --model a data file, or a data set on the Hugging Face Hub",
               nargs="?"),
        _value("--gpu", "CARD",
               "estimate for this GPU: “RTX 4090”, “2 x A100 80 GB”, or “8 GB” for any other"),
        _switch("--longest", "print the longest rows that fit, on this GPU and on common ones"),
        _value("--minutes", "N", "reduce the plan until it takes N minutes at most; print the "
               "settings and what they give up", type=_MINUTES),
        *READ,
        ALLOW,
    )),
    ("probe", "measure memory and speed in a few real steps", "probe:probe", (
        PLAN,
        _value("--steps", "N",
               "optimizer steps on the longest examples, and as many on average ones (default: 3)",
               type=int, default=3),
        _value("--write", "OUT", "write a new plan to OUT, with the batch size that fits"),
        _switch("--compare", "measure attention, kernels and layouts that this machine can run, and name the "
                "fastest; --write OUT writes a plan with it"),
        ALLOW,
    )),
    ("slurm", "show the batch script of a plan for a Slurm cluster, and when its job would start",
     "slurm:slurm", (
        _value("plan", "PLAN", "plan (YAML file; default: show what the cluster has)", nargs="?"),
        NAME, ALLOW,
    )),
    ("rehearse", "try a plan's exports with a random adapter, before the training",
     "rehearse:rehearse", (PLAN, ALLOW)),
    ("doctor", "show what this machine can do and what is missing", "doctor:doctor", (
        _switch("--quick", "skip the trial training step"),
        _choice("--provider", "P", "check the key and the account at a platform instead; nothing is "
                "started: ", HOSTED),
        _value("--model", "M", "with --provider: check this model"),
    )),
    ("runs", "list runs, or search them", "runs:list_runs", (
        _value("words", "WORD", "search terms: any word, state:finished, model:qwen, 'lr>1e-4'",
               nargs="*", type=str),
        _value("--limit", "N", "show only the newest N", type=int),
    )),
    ("compare", "compare the settings and scores of runs", "compare:run", (
        _value("runs", "RUN", "ids of two or more runs (default: the two newest)", nargs="*"),
        _switch("--curves", "open a screen with the loss curves overlaid"), *VIEW,
    )),
    ("remove", "delete runs", "remove:remove", (
        _value("runs", "RUN", "run ids", nargs="+"),
        _switch("--yes", "ask nothing"),
        _switch("--checkpoints", "delete only the checkpoints; keep the results"),
        _switch("--remote-files", "of hosted runs: also delete the files that were uploaded"),
    )),
    ("chat", "talk to a run's model, next to its base model", "chat:chat", (
        _value("run", "RUN", "run id (default: the newest with a model)", nargs="?"),
        _switch("--base", "answer with the base model, too (the screen always does)"),
        _value("--checkpoint", "N", "of a hosted run: the checkpoint of step N", type=int),
        _value("--prompt", "TEXT", "answer this prompt and exit; - reads it from standard input"),
        _switch("--no-system", "without the system prompt of the training data"),
        _value("--system", "TEXT", "with this system prompt instead"),
        _value("--temperature", "T", "sample answers at this temperature (default: greedy)",
               type=_number(float, 2), default=0.0),
        _value("--max-tokens", "N", "maximum tokens of an answer (default: 400)",
               type=_number(int, 100_000)),
        *VIEW,
    )),
    ("serve", "serve a run's model on this machine, with an OpenAI-compatible API", "serve:serve", (
        _value("run", "RUN", "run id (default: the newest with a model)", nargs="?"),
        _value("--port", "N", "port (default: any free one)", type=_number(int, 10**6, {})),
        _value("--gguf", "FILE", "serve this GGUF file with llama.cpp (default: the newest that was "
               "exported; without any, the merged model with transformers)"),
        _switch("--key", "require a key, from a private file that only you can read"),
    )),
    ("merge", "merge an adapter into its base model, and prove that the result is right",
     "merge:merge", (
        _value("source", "RUN|ADAPTER",
               "run id (default: the newest with a model), or the folder of an adapter", nargs="?"),
        _value("--base", "FOLDER|ID", "base model (of a run: the one that it was trained on)"),
        _value("--out", "DIR", "new folder for the model (of a run, by default: merged/ in its folder)"),
        _choice("--onto", "FORM", "weights that a QLoRA adapter is added to: the base as published "
                "(default), or as training rounded it: ", ("16-bit", "dequantized")),
        _choice("--rounding", "MODE", "one rounding of the exact sum (default), or the roundings of "
                "peft: ", ("exact", "peft"), default="exact"),
        _value("--scale", "S", "strength of the adapter (default: 1)",
               type=_number(float, MAX_SCALE, {}), default=1.0),
        _switch("--replace", "replace a model that was merged there before, such as with another --scale"),
        _choice("--dtype", "TYPE", "type of the model (default: the 16-bit type of the base): ",
                ("bfloat16", "float16", "float32")),
    )),
    ("export", "write a run's model as GGUF, for Ollama, or the command lines of vLLM",
     "export:export", (
        _value("model", "RUN|FOLDER",
               "run id, or a folder of a 16-bit model (default: the newest run with a model)",
               nargs="?"),
        _value("--to", "FORM",
               "gguf, ollama or vllm; quantized: gguf:q4_k_m, ollama:q4_k_m (repeatable)",
               action="append", required=True),
        _value("--out", "DIR", "folder of the exports (default: in the run's folder; of another "
               "model, next to it)"),
    )),
    ("eval", "compare a model with its base on three sets, and say whether to ship it",
     "evaluate:evaluate", (
        _value("model", "RUN|MODEL|URL",
               "run id, folder of a model or an adapter, owner/name on the Hugging Face Hub, or the "
               "address of an OpenAI-compatible endpoint (default: the newest run with a model)",
               nargs="?"),
        _values("--set", "FILE", "a set of your own: prompts with expected answers or rules, one per "
                "line; or lm-eval:TASK (repeatable)"),
        _value("--base", "MODEL|URL", "base of a model that is not a run; of a hosted run: its deployment"),
        _value("--checkpoint", "N", "evaluate the checkpoint of step N of a run", type=int),
        _switch("--checkpoints", "evaluate every checkpoint on disk or at the platform, and name the best"),
        _value("--scale", "S", "weaken the adapter to this share of its strength, up to 1",
               type=_number(float, 1, {"%": 0.01})),
        _switch("--sweep", "evaluate the adapter at 0.25, 0.5, 0.75 and 1 of its strength, and name the "
                "best: nothing is trained"),
        _value("--system", "TEXT|FILE", "system prompt of the prompted base model"),
        _value("--shots", "N", "examples from the training rows in its prompt (default: as in the "
               "plan, 3)", type=int),
        _value("--scorer", "NAME", "how answers to the run's test rows are compared, for answers that are "
               "there: " + ", ".join(SCORERS) + ", or your function: score.py:score"),
        _value("--answer-pattern", "REGEX", "what their answer is: the first group of its last match"),
        _value("--max-items", "N", "items of each set at most (default: 400 on a GPU, 120 on a CPU, 100 at endpoints)",
               type=_number(int, MAX_COUNT)),
        _value("--served-model", "NAME", "name of the model at the endpoint; of a hosted run: the "
               "deployment of its tuned model"),
        _value("--key-variable", "NAME", "environment variable with the key of the endpoint"),
        _value("--judge", "URL", "endpoint that grades answers to items with a judge"),
        _value("--judge-model", "NAME", "name of the judge at its endpoint"),
        _value("--judge-key", "NAME", "environment variable with its key"),
        _switch("--gate", "exit 1 for do not ship, 4 for cannot tell"),
        _switch("--check", "only read the files of --set, and report what is wrong with them"),
        _switch("--by-hand", "compare up to 30 answers of both models yourself, without knowing which is which"),
        _values("--choose", "ITEM=KEY", "with --by-hand: judge a pair by its key, a, b, e (equal), n (both "
                "wrong), s (skip) or u (undo); - reads lines (repeatable)"),
        _value("--pairs", "FILE", "with --by-hand: write what you judged as preference pairs"),
    )),
    ("card", "write the model card of a run, from its record", "card:card", (
        _value("run", "RUN", "run id (default: the newest with a model)", nargs="?"),
        _value("--out", "FILE", "file to write (default: card.md in the run's folder)"),
        _switch("--replace", "overwrite a card that was edited"),
    )),
    ("eject", "write the training as a plain TRL script that runs without ftwizard", "eject:eject", (
        _value("source", "RUN|PLAN", "run id, or plan (YAML file)"),
        _value("--out", "DIR", "new folder for the script, its requirements, rows and reward functions",
               required=True),
        _value("--skypilot", "GPU", "also write a task for SkyPilot, which rents a machine with that "
               "GPU: A100-80GB, or four: A100-80GB:4"),
        ALLOW,
    )),
    ("push", "upload a run's model to the Hugging Face Hub, private by default", "push:push", (
        _value("run", "RUN", "run id (default: the newest with a model)", nargs="?"),
        _value("--repo", "ID", "repository: owner/name, or a name in your account", required=True),
        _switch("--adapter", "upload the adapter instead of the merged model"),
        _switch("--public", "let everybody see it"),
        _switch("--replace", "upload to a repository that has other files"),
        _switch("--check", "only say what would be sent, and what to know before; send nothing"),
        _switch("--yes", "ask nothing"),
    )),
    ("verify", "check that merged, exported and served model are the one that was trained",
     "verify:verify", (
        _value("run", "RUN", "run id (default: the newest with a model)", nargs="?"),
        _value("--server", "URL", "also a server that is up: http://localhost:8000/v1"),
        _value("--model", "NAME", "name of the model on that server"),
        _value("--key-variable", "NAME", "environment variable with the key of that server"),
        _value("--gguf", "FILE", "check this GGUF file (default: those that were exported)"),
    )),
    ("deploy", "deploy the model of a hosted run, where its platform does not serve it at once",
     "deployments:deploy", (
        _value("run", "RUN", "run id (default: the newest with a model)", nargs="?"),
        _value("--checkpoint", "N", "the model of step N, where the platform keeps it under a name",
               type=int),
        _switch("--yes", "ask nothing"),
    )),
    ("teardown", "list what is billed at the platforms for as long as it exists, and delete it",
     "deployments:teardown", (
        _value("run", "RUN", "run id (default: everything of the accounts whose keys are set)",
               nargs="?"),
        _choice("--provider", "P", "everything of the account at: ", HOSTED),
        _switch("--yes", "ask nothing; delete only what runs here made"),
    )),
    ("download", "download the adapter of a hosted run, or of a checkpoint that its platform keeps",
     "download:download", (
        _value("run", "RUN", "run id (default: the newest with a model)", nargs="?"),
        _value("--checkpoint", "N", "the checkpoint of step N, to checkpoints/checkpoint-N",
               type=int),
    )),
    ("status", "show the state of a run", "runs:status", (SHOWN_RUN,)),
    ("watch", "follow a run; leaving the view does not stop it", "watch:watch", (
        _value("run", "RUN|PATH",
               "run id (default: the one running, else the newest), or a log of another tool: an output "
               "folder or trainer_state.json, TensorBoard or W&B files, a CSV", nargs="?"),
        _choice("--provider", "PROVIDER", "RUN is the id of a job that was started elsewhere, at: ",
                HOSTED),
        *VIEW,
    )),
    ("resume", "continue from the newest complete checkpoint", "train:resume", (
        _value("run", "RUN", "run id (default: the newest that has not finished)", nargs="?"), PRICE,
        _switch("--restore-plan", "continue with the settings that the run began with; the edited "
                "plan.yaml is moved aside"),
        _value("--from", "start", "start over, where no checkpoint is left to continue from",
               dest="begin", choices=("start",)),
    )),
    ("diagnose", "diagnose a loss curve", "diagnose:run", (
        _value("run", "RUN|PATH",
               "run id, trainer_state.json or a folder with it, OpenAI result file, a CSV, JSON or JSON "
               "Lines file, TensorBoard or W&B log (default: the run that is running, else the newest)",
               nargs="?"),
    )),
    ("branch", "start a child run with changed settings", "train:branch", (
        _value("run", "RUN", "id of the parent run, which must have ended"),
        _values("--set", "NAME=VALUE", "change a setting of the plan: recipe.learning_rate=1e-4 "
                "(repeatable)"),
        _value("--drop", "LINES", "train without these lines of the training file: 3,17,20. A new file "
               "next to it has the others", type=_parse_lines),
        _switch("--edited", "take the settings from the parent's plan.yaml as it is now"),
        _switch("--smaller-batch", "halve the batch size or more, and accumulate as many more: less "
                "memory, the same examples per step"),
        _value("--rate-times", "X", "multiply the learning rate by X", type=float),
        _value("--accumulation-times", "N", "multiply gradient accumulation by N", type=int),
        _value("--from", "best|start|STEP", "initial weights: the best checkpoint, the start of the "
               "parent, or the checkpoint at STEP (default: best, else the newest, else start; the "
               "base model where a changed setting needs it)", dest="begin"),
        _value("--name", "ID", "run id (default: from parent and time)"),
        FOLLOW, *VIEW, ALLOW,
    )),
    ("reproduce", "train a run once more, and compare the losses", "reproduce:reproduce", (
        _value("run", "RUN", "id of the run, which must have ended"),
        _switch("--dry-run", "only check data, base model and versions"),
        _switch("--yes", "start even if versions or hardware differ"),
        _value("--name", "ID", "run id (default: from the run and the time)"),
        FOLLOW, *VIEW,
    )),
    ("stop", "save and stop a run; it can be resumed", "stop:stop", (
        _value("run", "RUN", "run id (default: the only one running)", nargs="?"),
        _switch("--kill", "kill it now, without saving; a second stop only waits"),
        _switch("--cancel", "of a hosted run: cancel the job"),
        _switch("--detach", "of a hosted run: only stop following the job, which keeps running"),
        _switch("--pause", "of a hosted run: pause the job; resume lets it continue"),
    )),
)  # fmt: skip
"""Name, summary, function (``module:function``) and arguments of each command."""
TRAINED_DATA = (
    _value("--model", "M", "model to train: a folder, or owner/name on the Hugging Face Hub"),
    _choice("--method", "METHOD", "training method (default: advised): ", METHODS),
    _value(
        "--epochs", "E", "number of epochs (default: advised)", type=_number(float, MAX_EPOCHS, {})
    ),
    _value(
        "--minutes",
        "N",
        "reduce the run until it takes N minutes at most; print what that gives up",
        type=_MINUTES,
    ),
    _value("--val", "FILE", "validation data (default: a tenth of the rows)"),
    *DATA[1:],
)
"""Options of ``train`` for a data file instead of a plan."""
ESTIMATED_DATA = (
    _value("--model", "M", "model to train: gpt-4.1-mini, owner/name"),
    _value("--examples", "N", "number of rows, instead of DATA", type=_number(int, MAX_COUNT)),
    _value("--mean-tokens", "T", "with --examples: mean tokens per row", type=_AMOUNT),
    _value("--epochs", "E", f"number of epochs (default: {EPOCHS:g})",
           type=_number(float, MAX_EPOCHS, {})),
)  # fmt: skip
COSTS = (
    _value("--edition", None, "prices of April 2026, or the current ones (default)",
           choices=EDITIONS, default="current"),
    _values("--price", "PROVIDER/MODEL/KIND=USD", "your own price (repeatable; KIND of a GPU: "
            "gpu-spot, gpu-on-demand); machine=USD: hourly price of this machine"),
    _value("--requests-per-month", "N", "requests per month to the tuned model", type=_AMOUNT),
    _value("--tokens-in", "T", "tokens per request (default: from the data)", type=_AMOUNT),
    _value("--tokens-out", "T", "tokens per answer (default: from the data)", type=_AMOUNT),
    _value("--serve-on", "CARD", "GPU for the break-even (default: a100-40gb)",
           default="a100-40gb"),
    _choice("--sort", "COLUMN", "sort by: ", SORTS, default="provider"),
    _switch("--notes", "show all offers and notes, not only the first few"),
)  # fmt: skip
SHARING = (
    _switch("--share-data", "apply OpenAI's discount for shared data"),
    _switch("--confidential", "never share the data: no discount"),
)
