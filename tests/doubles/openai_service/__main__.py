"""The service as a process: prints its base URL, and serves until it is ended."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

import msgspec

from tests.doubles.openai_service import Scenario, serve


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser(prog="openai_service")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--scenario", type=Path, help="JSON file with fields of Scenario")
    parser.add_argument("--foundry", action="store_true")
    parser.add_argument("--mantle", action="store_true")
    options = parser.parse_args()
    scenario = Scenario()
    if options.scenario:
        scenario = msgspec.json.decode(options.scenario.read_bytes(), type=Scenario)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    modes = {"foundry": options.foundry, "mantle": options.mantle}
    with serve(scenario, **modes, port=options.port) as service:
        print(service.base_url, flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
