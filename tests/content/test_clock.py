"""A clock that jumps: what others did is still seen, and no byte is wrong or lost."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.moto_bucket import BUCKET
from tests.support.store import Store, objects, open_store

DAY_S = 86_400


@pytest.fixture
async def store(moto_address: str, prefix: str, tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(moto_address, prefix, tmp_path, ttl=30) as store:
        yield store


@pytest.mark.parametrize("jump", [-DAY_S, DAY_S])
async def test_what_others_did_is_seen_after_a_jump(
    store: Store, moto_user: Any, monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    await store.write("ours", b"before")
    moto_user.put_object(Bucket=BUCKET, Key=store.prefix + "theirs", Body=b"one")
    assert await store.names() == ["ours"]  # listed a moment ago
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + jump)
    assert await store.names() == ["ours", "theirs"]
    assert await store.read("theirs") == b"one"
    await store.write("ours", b"after")
    await store.write("later", b"x")
    assert await store.read("ours") == b"after"
    assert objects(moto_user, store.prefix) == {"ours": b"after", "theirs": b"one", "later": b"x"}
    monkeypatch.setattr(time, "time", clock)
    moto_user.delete_object(Bucket=BUCKET, Key=store.prefix + "theirs")
    moto_user.put_object(Bucket=BUCKET, Key=store.prefix + "last", Body=b"y")
    if jump > 0:
        # Back from the future: what was listed there is of no use here.
        assert await store.names() == ["last", "later", "ours"]
    assert await store.read("ours") == b"after"
