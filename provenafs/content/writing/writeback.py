"""Write-back: stores acknowledged files in the background."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from provenafs.content.writing.file import File
from provenafs.guard import Background
from provenafs.lib.backoff import Backoff
from provenafs.lib.signal import Signal
from provenafs.s3.errors import is_transient

log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0


class Writeback:
    """Sends files whose close was acknowledged until they are stored, or S3 refuses them."""

    def __init__(
        self,
        nursery: Background,
        settle: Callable[[File], Awaitable[None]],
        failed: Callable[[int, Exception], None],
    ) -> None:
        """`settle` is called with each file that is stored; `failed` with those that cannot be."""
        self._nursery = nursery
        self._settle = settle
        self._failed = failed
        self._under_way = 0
        self._one_less = Signal()

    def send(self, file: File, ended: Callable[[], None] = lambda: None) -> None:
        """Store a file in the background; `ended` is called in the end, stored or not."""
        self._under_way += 1
        self._nursery.start_soon(self._send, file, ended)

    async def drained(self) -> None:
        """Wait until nothing is under way."""
        while self._under_way:
            await self._one_less.wait()

    async def one_less(self, within: float) -> bool:
        """Wait until one has ended; False if that takes longer than so many seconds."""
        with trio.move_on_after(within):
            await self._one_less.wait()
            return True
        return False

    async def _send(self, file: File, ended: Callable[[], None]) -> None:
        try:
            await self._send_until_stored(file)
            await self._settle(file)
        except Exception as error:
            log.error("%s could not be stored: %s", file.key, error)
        finally:
            self._under_way -= 1
            self._one_less.fire()
            ended()

    async def _send_until_stored(self, file: File) -> None:
        backoff = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        while file.awaits_writeback:
            try:
                await file.store_now()
            except Exception as error:
                if not is_transient(error):
                    log.error("%s could not be stored: %s", file.key, error)
                    self._failed(file.ino, error)
                    return
                log.warning("%s is not stored yet: %s", file.key, error)
                await backoff.pause()
