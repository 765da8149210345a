"""TRL's GRPOTrainer for prompts that are encoded already, and rewards that may fail."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence, Sized
from pathlib import Path
from typing import Any, cast

from accelerate.utils import gather_object
from trl.trainer.grpo_trainer import GRPOTrainer

from ftwizard.data.reader import ParsedRow
from ftwizard.rewards.reward import RewardError
from ftwizard.rewards.rows import make_batch, to_row
from ftwizard.rewards.scoring import Scorer, sum_rewards
from ftwizard.train.prompt_rows import IDS, read_row


class RewardTrainer(GRPOTrainer):
    """GRPO on our prompts.

    A reward function that fails ends the training, after a checkpoint of the steps before. Each of
    several processes scores its own answers; a failure in one of them ends all at the same step.
    """

    def set_end_tokens(self, ids: set[int]) -> None:
        """Set the tokens that end an answer: of the model, and of ours."""
        ends = sorted({*self.eos_token_ids, *ids})
        self.eos_token_ids = ends
        self.generation_kwargs["eos_token_id"] = ends
        self.generation_config.eos_token_id = ends

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Any:
        self._prompt_ids = [[int(i) for i in row[IDS]] for row in inputs]
        return super()._generate_and_score_completions(inputs)

    def _tokenize_prompts(self, prompts: list[Any]) -> Any:
        """Return the tokens of ours, where TRL would apply the model's template as it is."""
        return self._prompt_ids, None, {}

    def _calculate_rewards(self, *arguments: Any) -> Any:
        """Return the rewards of all processes' answers; raise RewardError in all if one failed."""
        rewards = super()._calculate_rewards(*arguments)
        functions = cast(list[RewardFunction], self.reward_funcs)
        failures = [function.failure for function in functions if function.failure]
        for failure in self._gather_objects(failures):
            raise failure
        repeats = self._count_repeats(len(rewards))
        if repeats:  # TRL leaves answers without a reward out of its means
            rewards[-repeats:] = math.nan
        return rewards

    def _count_repeats(self, answers: int) -> int:
        """Return how many of all processes' answers are to prompts that were asked already.

        The last batch of an evaluation by several is filled up with prompts of its beginning.
        """
        is_last = self.accelerator.gradient_state.end_of_dataloader
        if self.accelerator.num_processes == 1 or cast(Any, self.model).training or not is_last:
            return 0
        prompts = len(cast(Sized, self.eval_dataset))
        return -(prompts * int(self.num_generations_eval or 1)) % answers

    def _gather_objects(self, values: list[Any]) -> list[Any]:
        """Return the values of all processes, in all of them."""
        if self.accelerator.num_processes == 1:
            return values
        return list(gather_object(values))

    def train(self, *arguments: Any, **keywords: Any) -> Any:
        """Train; afterwards, end the processes of the user's functions."""
        try:
            return super().train(*arguments, **keywords)
        finally:
            for function in self.reward_funcs:
                if isinstance(function, RewardFunction):
                    function.scorer.close()

    def training_step(self, model: Any, *arguments: Any) -> Any:
        """Train on a batch; save the steps before it if a reward function fails."""
        with self._saving_before_failure():
            return super().training_step(model, *arguments)  # type: ignore[no-untyped-call]

    def evaluate(self, *arguments: Any, **keywords: Any) -> dict[str, float]:
        """Evaluate; save the steps so far if a reward function fails, as the save would follow."""
        with self._saving_before_failure():
            return super().evaluate(*arguments, **keywords)

    @contextlib.contextmanager
    def _saving_before_failure(self) -> Iterator[None]:
        try:
            yield
        except RewardError:
            step = self.state.global_step
            folder = Path(str(self.args.output_dir)) / f"checkpoint-{step}"
            # All save, or none: one that saves first creates the folder.
            if step and not any(self._gather_objects([folder.exists()])):
                self._save_checkpoint(self.model, trial=None)  # type: ignore[no-untyped-call]
            raise

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log without the loss of an evaluation, which says nothing of the answers.

        It is that of a policy step, about 0 whatever the rewards are.
        """
        logs.pop("eval_loss", None)
        super().log(logs, start_time)

    def score_answers(
        self, rows: Sequence[ParsedRow], answers: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Return the rewards of answers to rows, and their weighted sum; raise RewardError."""
        batch = make_batch([to_row(row) for row in rows], answers)
        functions = cast(list[RewardFunction], self.reward_funcs)
        columns = [function.scorer.score(batch) for function in functions]
        rewards = [function.scorer.reward for function in functions]
        return [
            {
                "rewards": dict(zip(self.reward_func_names, values, strict=True)),
                "reward": sum_rewards(rewards, values),
            }
            for values in zip(*columns, strict=True)
        ]

    def create_model_card(self, *arguments: Any, **keywords: Any) -> None:
        """Write no model card: checkpoints hold what a resume needs, and the run has its own."""


class RewardFunction:
    """A scorer with the signature of TRL's reward functions."""

    def __init__(self, name: str, scorer: Scorer, tokenizer: Any) -> None:
        self.__name__ = name
        self.scorer = scorer
        self.failure: RewardError | None = None
        """Raised by the trainer once all processes know of it: they wait for the rewards of each."""
        self._tokenizer = tokenizer

    def __call__(
        self, completion_ids: Sequence[list[int]], row: Sequence[str], **_: Any
    ) -> list[float | None]:
        """Return a reward for each completion; 0 after a failure, which is kept."""
        texts = self._tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
        try:
            return self.scorer.score(make_batch([read_row(text) for text in row], texts))
        except RewardError as error:
            self.failure = error
            return [0.0] * len(texts)
