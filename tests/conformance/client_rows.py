"""Runs every row in the official client's own environment.

Reads where to go from standard input as JSON and prints, for each row, null or a traceback.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import sys
import traceback

from rows import access, files, login, records, registry, review
from rows.client import ROWS, Sandbox

__all__ = ["access", "files", "login", "records", "registry", "review", "run_all"]


async def run_all(sandbox: Sandbox) -> dict[str, str | None]:
    results: dict[str, str | None] = {}
    for name, function in ROWS.items():
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                await asyncio.wait_for(function(sandbox), 60)
            results[name] = None
        except Exception:
            results[name] = traceback.format_exc()
    return results


if __name__ == "__main__":
    print(json.dumps(asyncio.run(run_all(Sandbox(json.load(sys.stdin))))))
