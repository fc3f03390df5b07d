"""How long tests of chance go on: briefly by themselves, long under scripts/soak."""

from __future__ import annotations

import os


def times(number: int) -> int:
    """So many rounds, multiplied by the environment's SOAK where that is set."""
    return number * int(os.environ.get("SOAK", "1"))


def is_soaking() -> bool:
    """Whether new cases are looked for; otherwise the same ones are tried each time."""
    return times(1) > 1
