"""A prompter that answers from a list instead of a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from ftwizard.runs.progress import Progress
from ftwizard.screens.draft.suggestions import Suggest
from ftwizard.screens.plain.prompts import BACK, GoBack, Prompter, UserQuit, Validator


class Scripted(Prompter):
    """Answers from a list: a value, ``""`` for the suggested value, or ``BACK``; quits at the end."""

    keys = ""

    def __init__(self, *answers: str) -> None:
        super().__init__(ascii=False)
        self.answers = list(answers)
        self.questions: list[str] = []
        self.refused: list[str] = []
        self.can_go_back = True

    def _choose(self, question: str, options: Sequence[tuple[str, str]], text: str) -> str:
        self.questions.append(question)
        answer = self._next() or text
        assert answer in [value for value, _ in options], (answer, options)
        return answer

    def _line(self, question: str, text: str, check: Validator, suggest: Suggest | None) -> str:
        self.questions.append(question)
        while problem := check(answer := self._next() or text):
            self.refused.append(problem)
        return answer

    def _secret(self, question: str) -> str:
        self.questions.append(question)
        return self._next()

    @contextlib.contextmanager
    def _busy(self, title: str) -> Iterator[Callable[[Progress], None]]:
        yield lambda progress: None

    def _next(self) -> str:
        if not self.answers:
            raise UserQuit
        answer = self.answers.pop(0)
        if answer == BACK:
            raise GoBack
        return answer
