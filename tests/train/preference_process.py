"""One process of small preference trainings: ``python preference_process.py SETTINGS``, a JSON list.

Started by torchrun for ``test_preference_ranks.py``; alone, it trains the same with larger batches.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def train(settings: dict[str, Any]) -> None:
    """Train two epochs of an odd number of rows; leave the first process's logs in ``logs.json``."""
    from accelerate.state import AcceleratorState
    from peft import LoraConfig
    from transformers import AutoTokenizer, set_seed

    from ftwizard.jobs.folder import JobFolder
    from ftwizard.plan import plan_file
    from ftwizard.train import adapter, loss_head, model_loading, trainer_rows
    from ftwizard.train.encoder import EncodedRow
    from ftwizard.train.objectives import preference
    from ftwizard.train.objectives.setup import TrainerSetup
    from ftwizard.train.rank_rows import RepeatedPreferences

    AcceleratorState._reset_state()
    objective, method, ranks = settings["objective"], settings["method"], settings["ranks"]
    folder, base = JobFolder(Path(settings["folder"])), Path(settings["base"])
    folder.ranks.mkdir(parents=True, exist_ok=True)

    def make_row(line: int, shift: int = 0, **more: Any) -> EncodedRow:
        ids = [5 + (7 * line + (3 + shift) * k) % 90 for k in range(6 + (line + shift) % 5)]
        return EncodedRow(line=line, input_ids=ids, labels=[-100, -100, *ids[2:]], **more)

    rows = [
        make_row(line, rejected=make_row(line, 1))
        if objective == "dpo"
        else make_row(line, label=line % 3 != 0)
        for line in range(1, 14)
    ]
    plan = plan_file.parse(
        json.dumps(
            {
                "data": {"files": {"train": "rows.jsonl"}},
                "model": {"name": "tiny"},
                "recipe": {
                    "objective": objective, "method": method, "epochs": 2, "learning_rate": 5e-3,
                    "batch_size": 4 // ranks, "gradient_accumulation": 2, "precision": "fp32",
                    "evaluation_steps": 2,
                },
                "where": {"processes": ranks},
            }
        )
    )  # fmt: skip
    set_seed(0)
    model = model_loading.load_to_train(base, method, "fp32", shards=False)
    loss_head.set_decoder(model)
    loss_head.score_trained_tokens_only()
    ready: Any = SimpleNamespace(
        encoded={"train": rows, "validation": rows[: settings["validation"]]},
        total=4,
        train=trainer_rows.build_dataset(rows, plan.recipe, ranks),
        encoder=SimpleNamespace(tokenizer=AutoTokenizer.from_pretrained(base)),
    )
    adapts = method != "full"
    setup = TrainerSetup(
        plan=plan, folder=folder, ready=ready, model=model, precision="fp32",
        lora_config=LoraConfig(
            r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"],
            task_type="CAUSAL_LM",
        ) if adapts else None,
        callbacks=[], changes={"save_steps": 1}, say=lambda *_, **__: None,
    )  # fmt: skip
    makers = {"dpo": preference.make_dpo, "kto": preference.make_kto}
    trainer = makers[objective](setup)
    if adapts:
        adapter.keep_in_32_bit(trainer.model)
    preference.verify(setup, trainer)
    if ranks > 1:
        RepeatedPreferences(trainer, GROUP)
    resumed = settings.get("resume")
    trainer.train(
        resume_from_checkpoint=str(JobFolder(Path(settings["from"])).checkpoints / resumed)
        if resumed
        else None
    )
    if trainer.args.should_save:
        (folder.path / "logs.json").write_text(json.dumps(trainer.state.log_history))


GROUP: Any = None
if __name__ == "__main__":
    if "WORLD_SIZE" in os.environ:
        from ftwizard.train import rank_group

        GROUP = rank_group.join()
    for each in json.loads(sys.argv[1]):
        train(each)
    if GROUP:
        rank_group.leave()
