"""Memory that is used again."""

from __future__ import annotations

from provenafs.lib.buffers import Buffers

SIZE = 2 * 1024**2


def test_memory_in_use_is_left_alone() -> None:
    buffers = Buffers()
    held = []
    for number in range(40):
        taken = buffers.take(SIZE)
        taken[:] = bytes([number]) * SIZE
        held.append((number, taken[number : number + 10]))  # a part keeps all of it in use
        del taken
        if number % 3 == 2:
            held.pop(0)
        for expected, part in held:
            assert part == bytes([expected]) * 10


def test_memory_out_of_use_is_taken_again() -> None:
    buffers = Buffers()
    first = buffers.take(SIZE)
    first[:3] = b"old"
    second = buffers.take(SIZE)
    assert second[:3] == bytes(3)
    del first
    assert buffers.take(SIZE)[:3] == b"old"
    assert buffers.take(2 * SIZE)[:3] == bytes(3)


def test_memory_in_use_does_not_push_out_what_can_be_used_again() -> None:
    buffers = Buffers()
    first = buffers.take(SIZE)
    first[:3] = b"old"
    held = [buffers.take(SIZE) for _ in range(40)]
    del first
    assert buffers.take(SIZE)[:3] == b"old"
    assert len(held) == 40


def test_memory_out_of_use_is_given_back_beyond_a_limit() -> None:
    buffers = Buffers()
    held = [buffers.take(SIZE) for _ in range(40)]
    held[-1][:3] = b"new"
    del held
    taken = [buffers.take(SIZE) for _ in range(17)]
    assert sum(map(len, buffers._kept)) <= (len(taken) + 16) * SIZE
    assert any(memory[:3] == b"new" for memory in taken)
