"""Fixtures of the tests of the command line."""

from __future__ import annotations

import pytest

from tests.support.running_sandbox import RunningSandbox
from tests.support.verbs import Verbs


@pytest.fixture
def verbs(sandbox: RunningSandbox) -> Verbs:
    """The command line in the hands of the people of the session's sandbox."""
    return Verbs(sandbox)
