"""Trial of a reward: the Python of a code scorer runs as a process, on the example that is sent."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

from tests.doubles.vertex_service.errors import ServiceError

MAX_S = 10.0
_RUNNER = """
import json, sys
source, example, response = json.load(sys.stdin)
names = {"__name__": "reward"}
exec(source, names)
print("\\n" + json.dumps(float(names["evaluate"](example, response))))
"""


def try_reward(body: dict[str, Any]) -> dict[str, Any]:
    """Return the reward of a sample response; of a scorer that fails, its error."""
    configs = [
        body[name] for name in ("singleRewardConfig", "compositeRewardConfig") if name in body
    ]
    if len(configs) != 1 or "sampleResponse" not in body or "example" not in body:
        raise ServiceError(400, "A sample response, an example and one reward config are required.")
    entries = configs[0].get("weightedRewardConfigs") or [{"rewardConfig": configs[0]}]
    total = 0.0
    details: dict[str, Any] = {}
    for number, entry in enumerate(entries):
        config = entry["rewardConfig"]
        if "codeExecutionRewardScorer" not in config:
            raise ServiceError(400, "This double runs code scorers only.")
        source = config["codeExecutionRewardScorer"].get("pythonCodeSnippet", "")
        reward, error = _run(source, body["example"], body["sampleResponse"])
        name = config.get("rewardName") or f"reward_{number}"
        if error:
            details[name] = {"errorStatus": {"code": 3, "message": error}}
            return {"error": error, "rewardInfoDetails": details}
        details[name] = {"reward": "NaN" if math.isnan(reward) else reward}
        total += reward * float(entry.get("weight", 1))
    overall: Any = "NaN" if math.isnan(total) else total
    return {"overallReward": overall, "rewardInfoDetails": details}


def _run(source: str, example: Any, response: Any) -> tuple[float, str]:
    """Return reward, from -1 to 1, and error of a snippet."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _RUNNER],
            input=json.dumps([source, example, response]),
            capture_output=True,
            check=False,
            text=True,
            timeout=MAX_S,
        )
    except subprocess.TimeoutExpired:
        return 0.0, f"The code did not finish in {MAX_S:.0f} seconds."
    if done.returncode:
        return 0.0, done.stderr.strip().rpartition("\n")[2]
    reward = float(json.loads(done.stdout.rpartition("\n\n")[2] or done.stdout.splitlines()[-1]))
    return (reward if math.isnan(reward) else max(-1.0, min(1.0, reward))), ""
