"""Version chains from records that may contradict each other."""

from __future__ import annotations

import pytest

from provenafs.catalog import chain
from provenafs.catalog.chain import Chains
from provenafs.provena.errors import NotFound, Unauthorised
from provenafs.provena.records import DatasetRecord


def _record(number: int, previous: int | None, following: int | None, **more: str) -> DatasetRecord:
    name = more.get("folder", str(number))
    return DatasetRecord(
        {
            "id": f"10.1/{number}",
            "s3": {"bucket_name": "store", "path": f"datasets/10-1-{name}/"},
            "versioning_info": {
                "version": number,
                "previous_version": None if previous is None else f"10.1/{previous}",
                "next_version": None if following is None else f"10.1/{following}",
            },
        }
    )


def _chains(*records: DatasetRecord, hidden: str = "") -> Chains:
    known = {record.id: record for record in records}

    async def record(handle: str) -> DatasetRecord:
        if handle == hidden:
            raise Unauthorised("no role")
        if handle not in known:
            raise NotFound("none")
        return known[handle]

    return Chains(record)


async def test_a_chain_is_the_same_from_each_of_its_members(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chains = _chains(_record(1, None, 2), _record(2, 1, 3), _record(3, 2, None))
    for number in (1, 2, 3):
        assert await chains.through(f"10.1/{number}") == [(n, f"10.1/{n}") for n in (1, 2, 3)]
    assert caplog.messages == []


async def test_a_circle_ends(caplog: pytest.LogCaptureFixture) -> None:
    chains = _chains(_record(1, 2, 2), _record(2, 1, 1))
    for _ in range(3):
        assert len(await chains.through("10.1/1")) == 2
    assert len(caplog.messages) == 2  # told once from each side
    assert "circle" in caplog.text
    itself = _chains(_record(1, 1, 1))
    assert await itself.through("10.1/1") == [(1, "10.1/1")]


async def test_what_is_gone_is_told_and_what_is_hidden_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    chain = [(1, "10.1/1"), (2, "10.1/2")]
    assert await _chains(_record(1, None, 2), hidden="10.1/2").through("10.1/1") == chain
    assert caplog.messages == []
    assert await _chains(_record(1, None, 2)).through("10.1/1") == chain
    assert "gone" in caplog.text


async def test_a_half_made_version_and_a_fork_are_told(caplog: pytest.LogCaptureFixture) -> None:
    half = _record(2, 1, None, folder="1")
    await _chains(_record(1, None, 2), half).through("10.1/1")
    assert "10.1/2 was not completed" in caplog.text
    caplog.clear()
    await _chains(_record(1, None, 3), _record(2, 1, None)).through("10.1/2")
    assert "10.1/2 names 10.1/1 as its previous version, which names 10.1/3" in caplog.text


async def test_a_chain_without_an_end_is_cut(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(chain, "_LONGEST", 5)

    async def record(handle: str) -> DatasetRecord:
        """Each names another one as the next."""
        number = int(handle.rpartition("/")[2])
        return _record(number, number - 1 if number > 1 else None, number + 1)

    found = await Chains(record).through("10.1/1")
    assert [number for number, _ in found] == [1, 2, 3, 4, 5, 6]
    assert "do not end: no more than 5 are shown" in caplog.text
