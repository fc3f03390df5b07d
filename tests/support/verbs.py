"""Verbs run in this process as one of the sandbox's people, and its samples by name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner

from provenafs.cli.app import app
from provenafs.cli.failures import explain
from tests.support.running_sandbox import RunningSandbox

OCEAN = "10378.1/1451860"
PENGUINS = "10378.1/1451870"
LARGE = "10378.1/1451900"
TABLES = "10378.1/1451880"
RELEASED = "10378.1/1451940"
PENDING = "10378.1/1451950"
LOCKED = "10378.1/1451960"
EMBARGOED = "10378.1/1451970"
ELSEWHERE = "10378.1/1451980"
PRIVATE = "10378.1/1451990"
NOTEBOOK = "10378.1/1452000"
ODD_NAME = "10378.1/1452050"
COMMON_POOL = "10378.1/1452060"
ALICE = "10378.1/1451800"
CAROL = "10378.1/1451801"
PEOPLE = ("alice", "bob", "carol", "dave", "admin")


@dataclass(frozen=True, slots=True)
class Done:
    """How a verb ended: its exit status, and what it printed to people."""

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Verbs:
    """The command line, in the hands of the people of a sandbox."""

    sandbox: RunningSandbox

    def run(self, user: str, *arguments: str, status: int = 0, stdin: str = "") -> Done:
        """Run a verb; it must end with `status`, and its failure be one plain sentence."""
        done = self.attempt(user, *arguments, stdin=stdin)
        assert done.status == status, (user, arguments, done)
        if status not in (0, 1):
            assert len(done.stderr.strip().splitlines()) == 1, done
        return done

    def attempt(self, user: str, *arguments: str, stdin: str = "") -> Done:
        """Run a verb, however it ends."""
        environ = self.sandbox.env(user) | {"PROVENAFS_PROFILE": ""}
        result = CliRunner().invoke(app, arguments, input=stdin, env=environ)
        if result.exception is None or isinstance(result.exception, SystemExit):
            return Done(result.exit_code, result.stdout, result.stderr)
        status, sentence = explain(result.exception)
        return Done(int(status), result.stdout, f"{result.stderr}{sentence}\n")

    def ask(self, user: str, *arguments: str, status: int = 0) -> Any:
        """What a verb says to machines."""
        return json.loads(self.run(user, *arguments, "--json", status=status).stdout)

    def statuses(self, *arguments: str) -> dict[str, int]:
        """How a verb ends for each of the people."""
        return {user: self.attempt(user, *arguments).status for user in PEOPLE}
