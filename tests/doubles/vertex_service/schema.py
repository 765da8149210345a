"""Bodies of requests as Google's JSON parser takes them: names, types, and one of a group."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tests.doubles.vertex_service.errors import ServiceError

TEXT, INT, NUMBER, BOOL, LABELS, ANY = (
    "TYPE_STRING",
    "TYPE_INT64",
    "TYPE_DOUBLE",
    "TYPE_BOOL",
    "map",
    "any",
)
Schema = Mapping[str, Any]
"""Names with a type, a schema, a list with the schema of its entries, or a frozenset of words."""

_ADAPTERS = frozenset(
    f"ADAPTER_SIZE_{word}"
    for word in ("UNSPECIFIED", "ONE", "TWO", "FOUR", "EIGHT", "SIXTEEN", "THIRTY_TWO")
)
_MODES = frozenset({"TUNING_MODE_UNSPECIFIED", "TUNING_MODE_FULL", "TUNING_MODE_PEFT_ADAPTER"})
_FILES: dict[str, Any] = {"trainingDatasetUri": TEXT, "validationDatasetUri": TEXT}
_SIZES: dict[str, Any] = {
    "epochCount": INT,
    "learningRateMultiplier": NUMBER,
    "adapterSize": _ADAPTERS,
}
_REWARD: dict[str, Any] = {
    "rewardName": TEXT,
    "codeExecutionRewardScorer": {"pythonCodeSnippet": TEXT},
    "stringMatchRewardScorer": ANY,
    "autoraterScorer": ANY,
    "cloudRunRewardScorer": ANY,
    "parseResponseConfig": {"parseType": TEXT, "regexExtractExpression": TEXT},
}
_COMPOSITE: dict[str, Any] = {
    "weightedRewardConfigs": [{"rewardConfig": _REWARD, "weight": NUMBER}]
}
SPECS = {
    "supervisedTuningSpec": "supervised",
    "reinforcementTuningSpec": "reinforcement",
    "preferenceOptimizationSpec": "preference",
    "distillationSpec": "distillation",
}
JOB: Schema = {
    "baseModel": TEXT, "tunedModelDisplayName": TEXT, "description": TEXT, "labels": LABELS,
    "outputUri": TEXT, "customBaseModel": TEXT, "serviceAccount": TEXT,
    "encryptionSpec": {"kmsKeyName": TEXT},
    "preTunedModel": {"tunedModelName": TEXT, "checkpointId": TEXT},
    "supervisedTuningSpec": {
        **_FILES, "exportLastCheckpointOnly": BOOL, "tuningMode": _MODES, "evaluationConfig": ANY,
        "hyperParameters": {**_SIZES, "batchSize": INT, "learningRate": NUMBER},
    },
    "preferenceOptimizationSpec": {
        **_FILES, "exportLastCheckpointOnly": BOOL, "hyperParameters": {**_SIZES, "beta": NUMBER},
    },
    "distillationSpec": {
        "promptDatasetUri": TEXT, "validationDatasetUri": TEXT, "baseTeacherModel": TEXT,
        "tuningMode": _MODES, "hyperParameters": _SIZES,
    },
    "reinforcementTuningSpec": {
        **_FILES, "singleRewardConfig": _REWARD, "compositeRewardConfig": _COMPOSITE,
        "hyperParameters": {
            **_SIZES, "batchSize": INT, "samplesPerPrompt": INT, "evaluateInterval": INT,
            "checkpointInterval": INT, "maxOutputTokens": INT,
            "thinkingLevel": frozenset({"MINIMAL", "HIGH"}),
        },
    },
}  # fmt: skip
_PART: Schema = {
    "text": TEXT, "thought": BOOL, "thoughtSignature": TEXT,
    "inlineData": {"mimeType": TEXT, "data": TEXT}, "fileData": {"mimeType": TEXT, "fileUri": TEXT},
    "functionCall": ANY, "functionResponse": ANY,
}  # fmt: skip
CONTENT: Schema = {"role": TEXT, "parts": [_PART]}
QUESTION: Schema = {
    "contents": [CONTENT], "systemInstruction": CONTENT, "safetySettings": ANY, "tools": ANY,
    "toolConfig": ANY, "labels": LABELS, "cachedContent": TEXT,
    "generationConfig": {
        "temperature": NUMBER, "topP": NUMBER, "topK": NUMBER, "candidateCount": INT,
        "maxOutputTokens": INT, "stopSequences": ANY, "presencePenalty": NUMBER,
        "frequencyPenalty": NUMBER, "seed": INT, "responseMimeType": TEXT, "responseSchema": ANY,
        "responseJsonSchema": ANY, "responseLogprobs": BOOL, "logprobs": INT,
        "thinkingConfig": {
            "thinkingBudget": INT, "includeThoughts": BOOL,
            "thinkingLevel": frozenset({"MINIMAL", "LOW", "MEDIUM", "HIGH"}),
        },
    },
}  # fmt: skip
REWARD_TRIAL: Schema = {
    "parent": TEXT, "sampleResponse": CONTENT, "singleRewardConfig": _REWARD,
    "compositeRewardConfig": _COMPOSITE,
    "example": {"contents": [CONTENT], "systemInstruction": CONTENT, "references": LABELS},
}  # fmt: skip


def check_body(body: Any, schema: Schema, root: str = "") -> dict[str, Any]:
    """Return a body that follows a schema; raise ServiceError as Google's parser does.

    The parser takes ``epoch_count`` for ``epochCount``, which the SDK writes in some places.
    """
    if not isinstance(body, dict):
        raise ServiceError(400, "Invalid JSON payload received. Expected an object.")
    return _check_object(body, schema, root)


def _check_object(value: Any, schema: Schema, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _refuse_value(path, "Message", value)
    checked = {}
    for name, entry in value.items():
        inner = f"{path}.{_to_snake(name)}".lstrip(".")
        plain = name if name in schema else _to_camel(name)
        if plain not in schema:
            where = f" at '{path}'" if path else ""
            message = (
                f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.'
            )
            raise ServiceError(400, message, field=path or name)
        checked[plain] = _check_value(entry, schema[plain], inner)
    return checked


def _check_value(value: Any, kind: Any, path: str) -> Any:
    if isinstance(kind, Mapping):
        return _check_object(value, kind, path)
    if isinstance(kind, list):
        if not isinstance(value, list):
            raise _refuse_value(path, "Array", value)
        return [
            _check_object(entry, kind[0], f"{path}[{number}]") for number, entry in enumerate(value)
        ]
    if isinstance(kind, frozenset):
        if value not in kind:
            raise _refuse_value(path, "TYPE_ENUM", value)
    elif not _is_of_type(value, kind):
        raise _refuse_value(path, kind, value)
    return value


def _is_of_type(value: Any, kind: str) -> bool:
    if kind == ANY:
        return True
    if kind == LABELS:
        return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())
    if kind == BOOL or isinstance(value, bool):
        return kind == BOOL and isinstance(value, bool)
    if kind == TEXT:
        return isinstance(value, str)
    if kind == INT:
        is_digits = isinstance(value, str) and re.fullmatch(r"-?\d+", value) is not None
        return is_digits or (isinstance(value, int | float) and value == int(value))
    return isinstance(value, int | float)


def _refuse_value(path: str, kind: str, value: Any) -> ServiceError:
    shown = f'"{value}"' if isinstance(value, str) else str(value)
    return ServiceError(400, f"Invalid value at '{path}' ({kind}), {shown[:80]}", field=path)


def _to_camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda letter: letter[1].upper(), name)


def _to_snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", name)
