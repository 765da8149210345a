"""One process of small sharded trainings: ``python sharded_process.py SETTINGS``, a JSON list.

Started by torchrun for ``test_sharding.py``; alone, it trains the same without sharding.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def train(settings: dict[str, Any]) -> None:
    """Train four steps; leave the losses of the first process in ``losses.json``."""
    from accelerate.state import AcceleratorState
    from peft import LoraConfig
    from transformers import AutoTokenizer, set_seed
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    from ftwizard.train import adapter, loss_head, model_loading, packing, sharding
    from ftwizard.train.encoder import EncodedRow

    AcceleratorState._reset_state()  # the training before had another precision
    folder = Path(settings["folder"])
    base, method, precision = Path(settings["base"]), settings["method"], settings["precision"]
    processes, shards = int(os.environ.get("WORLD_SIZE", "1")), settings["shards"]
    rows = [
        EncodedRow(line=n, input_ids=ids, labels=[-100, -100, *ids[2:]])
        for n in range(16)
        if (ids := [5 + (7 * n + 3 * k) % 90 for k in range(6 + n % 5)])
    ]
    set_seed(0)
    changes: dict[str, Any] = {}
    if shards:
        sharding.begin(has_gpu=False)
        changes = sharding.build_settings(has_gpu=False)
    model = model_loading.load_to_train(base, method, precision, shards=shards)
    loss_head.set_decoder(model)
    loss_head.score_trained_tokens_only()
    config = SFTConfig(
        output_dir=str(folder), max_steps=4,
        per_device_train_batch_size=4 // processes // settings["passes"],
        gradient_accumulation_steps=settings["passes"],
        per_device_eval_batch_size=2, learning_rate=5e-3, bf16=precision == "bf16", use_cpu=True,
        logging_steps=1, eval_strategy="steps", eval_steps=2, save_steps=2, max_length=None,
        report_to="none", disable_tqdm=True, seed=0, dataloader_pin_memory=False,
        activation_checkpointing=settings["checkpointing"], **changes,
    )  # fmt: skip
    adapts = method != "full"
    trainer = SFTTrainer(
        model=model, args=config, train_dataset=packing.build_dataset(rows),
        eval_dataset=packing.build_dataset(rows[:8]),
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=LoraConfig(
            r=4, lora_alpha=8, lora_dropout=settings["dropout"],
            target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM",
        ) if adapts else None,
    )  # fmt: skip
    if adapts:
        adapter.keep_in_32_bit(trainer.model)
    if shards:
        sharding.attach(trainer, precision)
    resumed = settings.get("resume")
    trainer.train(resume_from_checkpoint=str(folder / resumed) if resumed else None)
    if trainer.args.should_save:
        names = ("loss", "grad_norm", "eval_loss", "step")
        logs = [{k: v for k, v in log.items() if k in names} for log in trainer.state.log_history]
        (folder / "losses.json").write_text(json.dumps([log for log in logs if len(log) > 1]))


if __name__ == "__main__":
    for each in json.loads(sys.argv[1]):
        train(each)
    import torch.distributed

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
