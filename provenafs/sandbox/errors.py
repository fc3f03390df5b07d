"""The one error of the sandbox that its user is told."""

from __future__ import annotations


class SandboxError(Exception):
    """The sandbox cannot do what was asked; the text is one sentence without any secret."""
