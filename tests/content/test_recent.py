"""The latest writes in memory: never other bytes than the file's, never more than the limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from provenafs.content.recent import Recent, Tail

_LIMIT = 40
_WRITES = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 60) | st.none(), st.binary(max_size=50))
)


@given(_WRITES, st.tuples(st.integers(0, 120), st.integers(0, 120)))
def test_what_is_kept_is_what_was_written(
    writes: list[tuple[int, int | None, bytes]], asked: tuple[int, int]
) -> None:
    recent = Recent(_LIMIT)
    tails = [Tail(recent), Tail(recent)]
    files = [bytearray(), bytearray()]
    ends = [0, 0]
    for number, offset, data in writes:
        start = ends[number] if offset is None else offset
        tails[number].begin(start)
        tails[number].add(start, data)
        file = files[number]
        file.extend(bytes(max(0, start + len(data) - len(file))))
        ends[number] = start + len(data)
        file[start : ends[number]] = data
    start, end = min(asked), max(asked)
    found = [tail.get(start, end) for tail in tails]
    for kept, file in zip(found, files, strict=True):
        assert kept is None or kept == bytes(file[start:end])
    assert sum(len(kept or b"") for kept in found) <= _LIMIT


def test_the_latest_writes_of_a_sequence_are_kept() -> None:
    tail = Tail(Recent(_LIMIT))
    for position in range(0, 100, 10):
        tail.begin(position)
        tail.add(position, bytes([position]) * 10)
    assert tail.get(65, 85) == bytes([60] * 5 + [70] * 10 + [80] * 5)
    assert tail.get(60, 100) is not None
    assert tail.get(59, 61) is None
    assert tail.get(99, 101) is None
    tail.clear()
    assert tail.get(95, 96) is None
