"""Multilingual rows, and tiktoken encodings without a network."""

from __future__ import annotations

import base64
import functools
import hashlib
import math
import os
import random
import tempfile
from pathlib import Path
from typing import Any

from ftwizard.data.example import Example

WORDS = {
    "en": [
        "the",
        "order",
        "arrived",
        "late",
        "and",
        "we",
        "want",
        "our",
        "money",
        "back",
        "please",
        "answer",
        "before",
        "monday",
    ],
    "de": [
        "die",
        "Lieferung",
        "kam",
        "zu",
        "spät",
        "und",
        "wir",
        "möchten",
        "unser",
        "Geld",
        "zurück",
        "Grüße",
        "aus",
        "Köln",
    ],
    "pl": [
        "zamówienie",
        "przyszło",
        "późno",
        "więc",
        "chcemy",
        "zwrotu",
        "pieniędzy",
        "dziękuję",
        "życzę",
    ],
    "ru": [
        "заказ",
        "пришёл",
        "поздно",
        "мы",
        "хотим",
        "вернуть",
        "деньги",
        "пожалуйста",
        "ответьте",
        "завтра",
    ],
    "zh": ["订单", "迟到", "我们", "想要", "退款", "请", "在", "星期一", "之前", "回答", "谢谢"],
    "ja": [
        "注文",
        "が",
        "遅れて",
        "届いた",
        "ので",
        "返金",
        "を",
        "お願い",
        "します",
        "ありがとう",
    ],
    "hi": ["ऑर्डर", "देर", "से", "आया", "हमें", "पैसे", "वापस", "चाहिए", "कृपया", "जल्दी", "उत्तर", "दें"],
    "ar": ["وصل", "الطلب", "متأخرا", "ونريد", "استعادة", "أموالنا", "من", "فضلك", "أجب"],
    "th": ["คำสั่งซื้อ", "มาถึง", "ช้า", "เรา", "ต้องการ", "เงินคืน", "กรุณา", "ตอบ"],
    "code": [
        "def",
        "total(rows):",
        "return",
        "sum(row['price']",
        "*",
        "1.19",
        "for",
        "row",
        "in",
        "rows",
        "if",
        "row)\n",
    ],
    "emoji": [
        "🙂",
        "👩\u200d🚀",
        "🇩🇪",
        "✅",
        "🧪",
        "résumé",
        "naïve",
        "№42",
        "3.14159",
        "2026-11-25",
    ],
}


def multilingual(chance: random.Random) -> Example:
    """Return a chat row in a random language, with a log-normal length."""

    def text(language: str) -> str:
        count = max(1, round(chance.lognormvariate(math.log(30), 1)))
        return " ".join(chance.choice(WORDS[language]) for _ in range(count))

    language = chance.choice(sorted(WORDS))
    turns = [
        {"role": role, "content": text(language)}
        for _ in range(chance.choice((1, 1, 1, 2, 3)))
        for role in ("user", "assistant")
    ]
    return Example(kind="chat", messages=turns)


@functools.cache
def tiktoken_encoding(name: str) -> Any:
    """Return tiktoken's encoding, built from the vocabulary in quicktok.

    tiktoken verifies the SHA-256 of OpenAI's file, which it would download otherwise.
    """
    import quicktok
    import tiktoken

    ours = quicktok.get_encoding(name)
    lines = [
        base64.b64encode(ours.decode_single_token_bytes(rank)) + b" %d\n" % rank
        for rank in range(len(ours.token_byte_values()))
    ]
    address = f"https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"
    with tempfile.TemporaryDirectory() as folder:
        cached = Path(folder) / hashlib.sha1(address.encode()).hexdigest()
        cached.write_bytes(b"".join(lines))
        before = os.environ.get("TIKTOKEN_CACHE_DIR")
        os.environ["TIKTOKEN_CACHE_DIR"] = folder
        try:
            return tiktoken.get_encoding(name)
        finally:
            if before is None:
                del os.environ["TIKTOKEN_CACHE_DIR"]
            else:
                os.environ["TIKTOKEN_CACHE_DIR"] = before
