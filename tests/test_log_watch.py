"""An unexpected error in a log fails a test; one that is expected does not."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.support.log_watch import LogWatch

_LINE = "2026-01-31 12:00:00,000 ERROR provenafs.guard: it gave up\n"


@pytest.fixture
def watch() -> LogWatch:
    return LogWatch()


@pytest.mark.expects_errors("it gave up")
def test_an_error_of_this_process(watch: LogWatch) -> None:
    with pytest.raises(AssertionError, match="it gave up"), watch.test([]):
        logging.getLogger("provenafs.guard").error("it gave up")
    with watch.test(["gave .*up"]):
        logging.getLogger("provenafs.guard").error("it gave up")
        logging.getLogger("provenafs.guard").warning("it tries again")


def test_an_error_of_a_mount_counts_once(watch: LogWatch, tmp_path: Path) -> None:
    log = tmp_path / "reef.log"
    log.write_text(_LINE)  # of a mount before
    with watch.mount(tmp_path):
        with watch.test([]):
            pass
        with pytest.raises(AssertionError, match="it gave up"), watch.test([]):
            log.write_text(log.read_text() + _LINE)
        with watch.test([]):
            log.write_text(log.read_text() + _LINE.replace("ERROR", "WARNING"))


def test_the_last_line_of_a_shared_mount_counts(watch: LogWatch, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="it gave up"), watch.mount(tmp_path):
        with watch.test([]):
            pass
        (tmp_path / "reef.log").write_text(_LINE)
