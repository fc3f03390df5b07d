"""The errors of the sandbox: the one that its user sees, and those of the services it imitates."""

from __future__ import annotations


class SandboxError(Exception):
    """The sandbox cannot do what was asked; the text is one sentence without any secret."""


class Crash(Exception):
    """Where the real service has an unhandled exception: a plain-text 500."""
