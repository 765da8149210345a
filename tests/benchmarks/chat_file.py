"""Large chat file for benchmarks: ten languages, log-normal lengths, mostly ASCII-escaped rows."""

from __future__ import annotations

import json
import random
from pathlib import Path

_WORDS = {
    "en": "the of and to in model data training loss learns answer question how why which file "
    "value result amount system people think because though between another system's example",
    "de": "der die das und nicht Modell Frage Antwort für über größer Straße können müssen weil",
    "fr": "le la les être modèle réponse données déjà où garçon après fenêtre théâtre parce que",
    "es": "el la los años señal respuesta pregunta también corazón niño después porque según",
    "pt": "não são coração resposta pergunta também você avião português ação porque então",
    "ru": "модель данные ответ вопрос потому что большой город работа время человек система",
    "ar": "نموذج بيانات سؤال جواب لأن كبير مدينة عمل وقت إنسان نظام كتاب مدرسة",
    "hi": "मॉडल डेटा प्रश्न उत्तर क्योंकि बड़ा शहर काम समय मनुष्य प्रणाली पुस्तक",
    "zh": "模型 数据 问题 回答 因为 城市 工作 时间 系统 学习 文件 结果 语言 训练",
    "ja": "モデル データ 質問 回答 なぜなら 都市 仕事 時間 システム 学習 ファイル 結果",
}
_SHARES = (40, 8, 8, 8, 6, 8, 5, 5, 7, 5)
_ASCII_SHARE = 0.85


def write(path: Path, size: int, seed: int = 0) -> int:
    """Write about ``size`` bytes of distinct chat rows; return the number of rows."""
    draw = random.Random(seed)
    words = {name: text.split() for name, text in _WORDS.items()}
    names = list(words)
    written = rows = 0
    with path.open("w", encoding="utf-8") as file:
        while written < size:
            language = words[draw.choices(names, _SHARES)[0]]
            messages = []
            if draw.random() < 0.5:
                messages.append({"role": "system", "content": "You answer briefly and truly."})
            for _ in range(draw.choice((1, 1, 1, 2, 3))):
                messages.append({"role": "user", "content": _text(draw, language, 3.4)})
                messages.append({"role": "assistant", "content": _text(draw, language, 4.1)})
            line = json.dumps({"messages": messages}, ensure_ascii=draw.random() < _ASCII_SHARE)
            written += file.write(line) + 1
            file.write("\n")
            rows += 1
    return rows


def _text(draw: random.Random, words: list[str], mean: float) -> str:
    count = max(2, min(3000, int(draw.lognormvariate(mean, 0.8))))
    text = draw.choices(words, k=count)
    for index in range(11, count, 12):
        text[index] += draw.choice((".", ".", ",", "?\n", ":\n\n- "))
    return f"{' '.join(text)} {draw.randrange(10**9)}"
