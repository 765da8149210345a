"""Text of an ejected script: plain TRL, with a comment on each setting that is not a default."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from ftwizard.estimate import training_setup
from ftwizard.export import objective_script, script_rows
from ftwizard.export.objective_script import ObjectiveFacts
from ftwizard.plan.schema import Plan
from ftwizard.runs.ejected_script import RowForm, list_commands, start_command
from ftwizard.text import make_visible
from ftwizard.train.objectives import preference

_WIDTH = 96
_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


class ScriptFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a script says besides the plan."""

    origin: str
    """``run tickets-1124`` or ``plan tickets.yaml``."""
    version: str
    """ftwizard's version."""
    model: str
    """Folder or id of the base model."""
    model_note: str
    revision: str | None
    precision: Literal["bf16", "fp16", "fp32"]
    attention: str | None
    """None for the model's default."""
    kernels: bool = False
    """Whether layers are replaced by those of the Hub."""
    targets: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    """``target_modules`` and ``target_parameters`` of the adapter."""
    form: RowForm
    train: int
    """Rows."""
    mixed: int
    """General rows, at the end of the training rows."""
    validation: int
    total: int
    """Optimizer steps."""
    processes: int = 1
    """Processes that the commands start; any number that divides ``split.parts`` can train as well."""
    end_ids: tuple[int, ...] = ()
    """Tokens that end an answer."""
    router_loss: float | None = None
    """Coefficient of the router loss; None where the model's own is right."""
    checkpointing: str
    """The setting's name in this version of TRL."""
    has_experts: bool = False
    """Whether weights of the model may be unused in a pass."""
    initial_adapter: bool = False
    objective: ObjectiveFacts = ObjectiveFacts()
    notes: tuple[str, ...] = ()
    """Reasons that the run recorded."""
    left_out: tuple[str, ...] = ()
    """What the run does and the script does not."""


def build(plan: Plan, facts: ScriptFacts) -> str:
    """Return the text of the script."""
    parts = (
        _describe(plan, facts), _import(plan, facts), _share(plan, facts), _load_rows(plan, facts),
        _load_model(plan, facts),
        _adapt(plan, facts), _configure(plan, facts), _train(plan, facts), _save(plan, facts),
    )  # fmt: skip
    sections = ["".join(f"{line}\n" for line in part) for part in parts]
    return "\n".join(section for section in sections if section)


def _quote(text: str) -> str:
    """Return a Python literal."""
    return json.dumps(text, ensure_ascii=False) if text.isprintable() else ascii(text)


def _comment(text: str, indent: str = "") -> list[str]:
    begin = f"{indent}# "
    return textwrap.wrap(
        make_visible(text), _WIDTH, initial_indent=begin, subsequent_indent=begin,
        break_on_hyphens=False, break_long_words=False,
    )  # fmt: skip


def _paragraph(text: str) -> list[str]:
    safe = make_visible(text).replace("\\", "\\\\").replace('"""', "'''")
    return textwrap.wrap(safe, _WIDTH, break_on_hyphens=False, break_long_words=False)


def _describe(plan: Plan, facts: ScriptFacts) -> Iterator[str]:
    method = training_setup.METHOD_NAMES[plan.recipe.method]
    title = objective_script.TITLES[plan.recipe.objective]
    yield f'"""{title}{method} {"and" if title else "with"} TRL, on {facts.train:,} examples.'
    yield ""
    yield from _paragraph(f"Written by ftwizard {facts.version} from {facts.origin}.")
    yield "It runs alone, and computes the same losses with the versions in requirements.txt:"
    yield ""
    yield from (f"    {command}" for command in list_commands(facts.processes))
    if facts.processes > 1:
        yield ""
        yield from _paragraph(
            f"That is one process on each of {facts.processes} GPUs, each with the whole model (DDP). "
            "In one process, a step has the same rows:"
        )
        yield ""
        yield f"    {start_command(1)}"
    if facts.left_out:
        yield ""
        yield from _paragraph(f"Not in this script: {', '.join(facts.left_out)}.")
    for note in facts.notes:
        yield ""
        yield from _paragraph(note)
    yield '"""'


def _import(plan: Plan, facts: ScriptFacts) -> Iterator[str]:
    recipe, name = plan.recipe, plan.recipe.objective.upper()
    if _freezes(plan, facts):
        yield "import functools"
    yield "import json"
    yield "import os"
    if facts.processes > 1:
        yield "import sys"
    yield "from pathlib import Path"
    yield ""
    indent = ""
    if facts.processes > 1:
        yield 'PROCESSES = int(os.environ.get("WORLD_SIZE", "1"))  # torchrun starts several'
        yield "if PROCESSES == 1:"
        indent = "    "
    yield f"{indent}# One GPU: TRL would spread the model over all that it sees, with another batch size."
    yield f'{indent}os.environ.setdefault("CUDA_VISIBLE_DEVICES", "{plan.where.gpu or 0}")'
    yield ""
    yield "import torch"
    yield "from datasets import Dataset"
    names = ["AutoModelForCausalLM", "AutoTokenizer"]
    names += ["BitsAndBytesConfig"] if recipe.method == "qlora" else []
    names += ["EarlyStoppingCallback", "TrainerCallback"] if facts.validation else []
    if recipe.method != "full":
        extra = ", PeftModel" if plan.finish.merge else ""
        yield f"from peft import LoraConfig{extra}"
    if facts.initial_adapter:
        yield "from peft import set_peft_model_state_dict"
        yield "from safetensors.torch import load_file"
    yield f"from transformers import {', '.join(names)}"
    yield f"from trl import {name}Config, {name}Trainer"
    if recipe.objective == "grpo":
        yield ""
        yield from objective_script.import_rewards(recipe.grpo.rewards)
    yield ""
    yield from _comment(facts.model_note)
    yield f"MODEL = {_quote(facts.model)}"
    if facts.revision:
        yield f"REVISION = {_quote(facts.revision)}"
    yield "HERE = Path(__file__).resolve().parent"
    yield 'OUTPUT = HERE / "output"'


def _share(plan: Plan, facts: ScriptFacts) -> Iterator[str]:
    """Yield how the processes share a step."""
    if facts.processes == 1:
        return
    split = objective_script.find_split(plan)
    yield from _comment(f"{split.meaning}, of all processes together.")
    yield f"{split.name} = {split.parts}"
    yield f"if {split.name} % PROCESSES:"
    yield f'    numbers = "{split.format_processes()}"'
    yield f'    sys.exit(f"{{PROCESSES}} processes cannot share {{{split.name}}} {split.unit}. Use {{numbers}}.")'
    yield "if PROCESSES > 1 and torch.cuda.is_available():"
    yield '    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))'


def _load_rows(plan: Plan, facts: ScriptFacts) -> Iterator[str]:
    revision = ", revision=REVISION" if facts.revision else ""
    yield f"tokenizer = AutoTokenizer.from_pretrained(MODEL{revision})"
    objective = plan.recipe.objective
    if functions := script_rows.read_functions(facts.form, objective):
        yield "# Tokens that end an answer: the model's, and those of its tokenizer."
        yield f"END_IDS = {{{', '.join(map(str, facts.end_ids))}}}"
        for source in functions:
            yield "\n"
            yield source
    if mismatches := objective == "kto" and plan.recipe.kto.loss_type == "kto":
        yield "\n"
        yield script_rows.read_source(script_rows.add_other_answers)
    yield "\n"
    yield "def read_rows(name):"
    yield '    with (HERE / "data" / name).open(encoding="utf-8") as file:'
    yield "        rows = [json.loads(line) for line in file]"
    if functions:
        call = f"{script_rows.name_function(facts.form)}(tokenizer, row, END_IDS)"
        if len(functions) > 1:
            function, limit = script_rows.name_function(facts.form), plan.recipe.max_length
            call = f"tokenize_answers({function}, tokenizer, row, END_IDS, {limit})"
        yield f"    rows = [{call} for row in rows]"
    if mismatches:
        yield f"    add_other_answers(rows, {objective_script.find_split(plan).parts})"
    if objective == "grpo":
        yield "    # Reward functions get whole rows as one text: columns of a dataset have one type each."
        yield "    columns = {}"
        if facts.form == "tokens":
            yield '    columns["prompt_ids"] = [row.pop("prompt_ids") for row in rows]'
        yield '    columns["row"] = [json.dumps(row) for row in rows]'
        yield '    columns["prompt"] = ['
        yield '        [{"role": m["role"], "content": m["content"]} for m in row["prompt"]] for row in rows'
        yield "    ]"
        yield "    return Dataset.from_dict(columns)"
    else:
        yield "    return Dataset.from_list(rows)"
    yield "\n"
    yield from _comment(_describe_form(facts.form, plan))
    mixed = f", of which the last {facts.mixed:,} are general ones, against forgetting"
    yield from _comment(f"{facts.train:,} rows{mixed if facts.mixed else ''}.")
    yield 'train_rows = read_rows("train.jsonl")'
    if facts.validation:
        yield 'validation_rows = read_rows("validation.jsonl")'


def _describe_form(form: RowForm, plan: Plan) -> str:
    if plan.recipe.objective == "grpo":
        return (
            "The prompts are token ids as well: TRL would make others of them. Another model needs other tokens."
            if form == "tokens"
            else "TRL applies the chat template to the prompts. Reward functions get the other columns."
        )
    if plan.recipe.objective != "sft":
        order = " They are in the order of the training." if plan.recipe.objective == "kto" else ""
        made = "Answers count up to their end token, where TRL would also count what follows it."
        if form == "tokens":
            made = "The rows are token ids; each answer ends with its end token. Another model needs other tokens."
        return made + order
    return {
        "messages": "TRL applies the chat template. Only answers and their end token count.",
        "conversations": "TRL has no training template for this model, so the function above makes "
        "the mask: only answers and their end token count.",
        "pairs": "The model has no chat template: prompt and completion are joined, and only the "
        "completion counts.",
        "texts": "The rows are plain text, of which every token counts.",
        "tokens": "The rows are token ids with labels, -100 where a token does not count: TRL has no "
        "plain setting that gives the mask of the run. Another model needs other tokens.",
    }[form]


def _load_model(plan: Plan, facts: ScriptFacts) -> Iterator[str]:
    method, dtype = plan.recipe.method, f"torch.{_DTYPES[facts.precision]}"
    yield "model = AutoModelForCausalLM.from_pretrained("
    yield "    MODEL,"
    if facts.revision:
        yield "    revision=REVISION,"
    if method == "full":
        yield from _comment(
            "Weights in 32 bit: in 16 bit, small updates would be lost in rounding. Autocast "
            "multiplies in 16 bit.", "    ",
        )  # fmt: skip
        dtype = "torch.float32"
    yield f"    dtype={dtype},"
    if facts.attention:
        yield f"    attn_implementation={_quote(facts.attention)},"
    if facts.kernels:
        yield "    use_kernels=True,  # layers of the Hub's kernels-community, by the kernels package"
    if method == "qlora":
        yield "    # NF4 with double quantization, as in the QLoRA paper."
        yield "    quantization_config=BitsAndBytesConfig("
        yield "        load_in_4bit=True,"
        yield '        bnb_4bit_quant_type="nf4",'
        yield "        bnb_4bit_use_double_quant=True,"
        yield f"        bnb_4bit_compute_dtype={dtype},"
        yield "    ),"
    yield ")"
    if method == "qlora":
        yield from _comment(
            "On a CPU with AVX512-BF16, bitsandbytes would switch to a kernel without a backward "
            "pass, and part of the adapter would get no gradient."
        )
        yield "for module in model.modules():"
        yield '    if hasattr(module, "support_avx512bf16_for_cpu"):'
        yield "        module.support_avx512bf16_for_cpu = False"


def _adapt(plan: Plan, facts: ScriptFacts) -> Iterator[str]:
    recipe = plan.recipe
    if recipe.method == "full":
        return
    yield "adapter = LoraConfig("
    yield f"    r={recipe.rank},"
    yield f"    lora_alpha={recipe.alpha},  # the update is scaled by alpha / r"
    if facts.parameters:
        yield "    lora_dropout=0.0,  # peft has no dropout for target_parameters"
    else:
        yield f"    lora_dropout={recipe.dropout!r},"
    yield from _list("target_modules", facts.targets)
    if facts.parameters:
        yield from _list("target_parameters", facts.parameters)
    yield '    task_type="CAUSAL_LM",'
    yield ")"


def _list(name: str, values: Iterable[str]) -> Iterator[str]:
    yield f"    {name}=["
    yield from (f"        {_quote(value)}," for value in values)
    yield "    ],"


def _configure(plan: Plan, facts: ScriptFacts) -> Iterator[str]:
    own = objective_script.list_settings(
        plan.recipe, facts.form, asks_reference_first=facts.objective.asks_reference_first
    )
    settings = {**_training_settings(plan, facts), **_evaluation_settings(plan, facts), **own}
    yield f"config = {plan.recipe.objective.upper()}Config("
    for name, (value, reason) in settings.items():
        line = f"    {name}={value},"
        if reason and len(line) + len(reason) + 4 <= _WIDTH:
            yield f"{line}  # {reason}"
            continue
        yield from _comment(reason, "    ") if reason else ()
        yield line
    yield ")"


_Settings = Mapping[str, tuple[Any, str]]
"""The text of each value, and the reason for it, which may be empty."""


def _training_settings(plan: Plan, facts: ScriptFacts) -> _Settings:
    recipe, has_gpu = plan.recipe, "torch.cuda.is_available()"
    schedule = {"constant": "constant_with_warmup"}.get(recipe.schedule, recipe.schedule)
    rate = recipe.peak_learning_rate
    recompute: Any = recipe.gradient_checkpointing
    settings: dict[str, tuple[Any, str]] = {
        "output_dir": ('str(OUTPUT / "checkpoints")', ""),
        "num_train_epochs": (recipe.epochs, f"{facts.total:,} steps"),
        "per_device_train_batch_size": (_size_batch(plan, facts), ""),
        "gradient_accumulation_steps": (_count_passes(plan, facts), ""),
        "learning_rate": (
            rate,
            "" if recipe.method == "full" else "about ten times that of a full fine-tune",
        ),
        "lr_scheduler_type": (_quote(schedule), ""),
        "warmup_steps": (round(recipe.warmup * facts.total), f"{recipe.warmup:.0%} of all steps"),
        "weight_decay": (recipe.weight_decay, ""),
        "max_grad_norm": (recipe.max_grad_norm, "gradients are clipped to this norm"),
        "seed": (
            recipe.seed,
            "of the order of rows, the adapter's first weights and all else that is random",
        ),
        "bf16": (facts.precision == "bf16", ""),
        "use_cpu": (f"not {has_gpu}", ""),
        "dataloader_pin_memory": (has_gpu, ""),
        facts.checkpointing: (
            has_gpu if recompute is None else recompute,
            "recomputes activations to save memory",
        ),
        "logging_steps": (1, ""),
        "logging_nan_inf_filter": (False, "it would hide a NaN loss"),
        "disable_tqdm": (True, ""),
        "report_to": (
            _quote("none"),
            f"the run: {', '.join(plan.report_to)}" if plan.report_to else "",
        ),
    }
    if facts.precision == "fp16":
        settings["fp16"] = (True, "")
    if recipe.max_steps is not None:
        settings["max_steps"] = (facts.total, "stops within an epoch")
    if facts.processes > 1:
        # As a run of several processes does: to search for unused weights takes time in each pass.
        settings["ddp_find_unused_parameters"] = (
            facts.has_experts,
            "experts without tokens are unused in a step" if facts.has_experts else "all are used",
        )
    if facts.router_loss is not None:
        reason = "a frozen router cannot balance its experts: its loss would only be noise"
        settings["router_aux_loss_coef"] = (facts.router_loss, reason)
    return settings


def _size_batch(plan: Plan, facts: ScriptFacts) -> int | str:
    """Return the rows of a process's batch: a number, or the script's expression."""
    return _share_out(plan, facts, "ROWS", plan.recipe.batch_size)


def _count_passes(plan: Plan, facts: ScriptFacts) -> int | str:
    """Return the batches of a process in a step: a number, or the script's expression."""
    return _share_out(plan, facts, "BATCHES", plan.recipe.gradient_accumulation)


def _share_out(plan: Plan, facts: ScriptFacts, name: str, each: int) -> int | str:
    split = objective_script.find_split(plan)
    if split.name != name:
        return each
    return split.parts if facts.processes == 1 else f"{name} // PROCESSES"


def _evaluation_settings(plan: Plan, facts: ScriptFacts) -> _Settings:
    if not facts.validation:
        return {
            "eval_strategy": (_quote("no"), "there are no validation rows"),
            "save_strategy": (_quote("no"), "the last weights are saved at the end"),
        }
    recipe, is_reward = plan.recipe, plan.recipe.objective == "grpo"
    best = "highest reward of the validation prompts" if is_reward else "lowest validation loss"
    every = recipe.evaluation_steps or training_setup.evaluation_steps(facts.total)
    return {
        "per_device_eval_batch_size": (_size_batch(plan, facts), ""),
        "eval_strategy": (_quote("steps"), ""),
        "eval_steps": (every, ""),
        "save_strategy": (_quote("steps"), ""),
        "save_steps": (every, "so that the best weights are on disk"),
        "save_total_limit": (2, "the best and the newest"),
        "load_best_model_at_end": (True, f"the weights with the {best}"),
        "metric_for_best_model": (_quote("eval_reward" if is_reward else "eval_loss"), ""),
        "greater_is_better": (is_reward, ""),
    }


def _freezes(plan: Plan, facts: ScriptFacts) -> bool:
    """Return whether the reference is a frozen copy of the adapter that the run began with."""
    return facts.initial_adapter and plan.recipe.objective != "sft"


def _train(plan: Plan, facts: ScriptFacts) -> Iterator[str]:
    if facts.validation:
        yield ""
        yield "class EvaluateAtEnd(TrainerCallback):"
        yield '    """Evaluates after the last step too, as the last weights may be the best."""'
        yield ""
        yield "    def on_step_end(self, args, state, control, **kwargs):"
        yield "        if state.global_step >= state.max_steps:"
        yield "            control.should_evaluate = True"
        yield "\n"
    if source := objective_script.define_trainer(plan.recipe, facts.form, facts.processes):
        if not facts.validation:
            yield ""
        yield source
        yield "\n"
    if plan.recipe.objective == "grpo":
        yield from objective_script.list_rewards(plan.recipe.grpo.rewards)
        ids = ", ".join(map(str, facts.objective.stop_ids))
        yield f"model.generation_config.eos_token_id = [{ids}]  # what ends an answer"
    name = objective_script.name_trainer(plan.recipe, facts.form, facts.processes)
    yield f"trainer = {name}("
    yield "    model=model,"
    yield "    args=config,"
    if plan.recipe.objective == "grpo":
        yield "    reward_funcs=rewards,"
    yield "    train_dataset=train_rows,"
    if facts.validation:
        yield "    eval_dataset=validation_rows,"
    yield "    processing_class=tokenizer,"
    if plan.recipe.method != "full":
        yield "    peft_config=adapter,"
    if facts.validation:
        patience = plan.recipe.patience
        yield "    # Ends when so many evaluations in a row bring no better value of metric_for_best_model."
        yield f"    callbacks=[EvaluateAtEnd(), EarlyStoppingCallback(early_stopping_patience={patience})],"
    yield ")"
    if plan.recipe.method == "qlora" or facts.parameters:
        yield "# TRL casts the adapter of a quantized model to 16 bit, in which small updates are lost."
        yield "for parameter in trainer.model.parameters():"
        yield "    if parameter.requires_grad:"
        yield "        parameter.data = parameter.data.float()"
    if _freezes(plan, facts):
        yield "\n"
        yield f"REFERENCE = {_quote(preference.REFERENCE)}"
        yield "\n"
        yield script_rows.read_source(preference.freeze_reference)
        yield "\n"
    if facts.initial_adapter:
        yield "# The run began with the weights of another run's checkpoint."
        yield 'initial = load_file(HERE / "initial" / "adapter_model.safetensors")'
        yield "set_peft_model_state_dict(trainer.model, initial)"
    if _freezes(plan, facts):
        yield "freeze_reference(trainer.model)"
    yield "trainer.train()"
    yield "trainer.save_state()  # trainer_state.json has the losses of all steps"


def _save(plan: Plan, facts: ScriptFacts) -> Iterator[str]:
    shares = facts.processes > 1
    if shares:
        yield "# The first process writes, in all of these."
    name = "model" if plan.recipe.method == "full" else "adapter"
    yield f'trainer.save_model(str(OUTPUT / "{name}"))'
    merges = plan.finish.merge and plan.recipe.method != "full"
    if shares and merges:
        yield "is_first = trainer.is_world_process_zero()"
    if shares:
        yield "trainer.accelerator.end_training()  # leaves the group of processes"
    if not merges:
        return
    revision = ", revision=REVISION" if facts.revision else ""
    yield ""
    yield "# Merged into the base as published, never into 4-bit weights: they lose small changes."
    yield "del trainer, model"
    indent = "    " if shares else ""
    if shares:
        yield "if is_first:"
    yield f'{indent}base = AutoModelForCausalLM.from_pretrained(MODEL{revision}, dtype="auto")'
    yield f'{indent}merged = PeftModel.from_pretrained(base, str(OUTPUT / "adapter")).merge_and_unload()'
    yield f'{indent}merged.save_pretrained(str(OUTPUT / "merged"))'
    yield f'{indent}tokenizer.save_pretrained(str(OUTPUT / "merged"))'
