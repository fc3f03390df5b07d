"""The command `provenafs`: its subcommands, imported on use."""

from __future__ import annotations

import difflib
import importlib
import io
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command as command_of

from provenafs import __version__
from provenafs.cli.examples import add_examples


@dataclass(frozen=True, slots=True)
class Verb:
    """Location of a subcommand: a function or typer app `attribute` in a module beside this."""

    module: str
    attribute: str
    help: str


VERBS = {
    "mount": Verb("mount", "mount", "Mount the datasets of a Provena data store as a drive."),
    "umount": Verb("umount", "umount", "Unmount a drive."),
    "status": Verb("status", "status", "Show mounts and their state."),
    "sync": Verb("transfers", "sync", "Wait until all written data is stored."),
    "cache": Verb("cache", "app", "Prefetch, pin and evict cached files."),
    "recover": Verb("recover", "app", "Show and resolve files that could not be stored."),
    "login": Verb("login", "login", "Log in through a web browser."),
    "logout": Verb("login", "logout", "Delete the login and end its session."),
    "whoami": Verb("login", "whoami", "Show the logged-in user and the services."),
    "profile": Verb("profile", "app", "Add, list, show and remove profiles."),
    "config": Verb("settings", "app", "Show every setting, and where it comes from."),
    "info": Verb("records", "info", "Show a dataset's state and your access rights."),
    "search": Verb("records", "search", "Search for datasets."),
    "metadata": Verb("metadata", "app", "Show, validate, edit and revert metadata."),
    "mint": Verb("mint", "mint", "Register a new dataset."),
    "version": Verb("version", "version", "Create a new version of a dataset."),
    "lock": Verb("governance", "lock", "Stop changes to a dataset."),
    "unlock": Verb("governance", "unlock", "Allow changes to a dataset again."),
    "lock-history": Verb("governance", "lock_history", "Show who locked a dataset, when and why."),
    "access": Verb("governance", "app", "Show and set access rights."),
    "review": Verb("review", "app", "Request, approve and reject releases."),
    "reviewers": Verb("review", "reviewers", "List, add and remove reviewers."),
    "share": Verb("sharing", "share", "Print a link to download one file."),
    "credentials": Verb("sharing", "credentials", "Print temporary credentials for other tools."),
    "manifest": Verb("contents", "manifest", "List a dataset's files with sizes and ETags."),
    "verify": Verb("contents", "verify", "Check that every file can be read."),
    "health": Verb("records", "health", "Check that the services respond."),
    "completion": Verb("completion", "completion", "Print the completion script of a shell."),
    "man": Verb("manual", "man", "Print the manual page."),
    "sandbox": Verb("sandbox", "app", "Run a local Provena to experiment with."),
}


class LazyGroup(TyperGroup):
    """A group that imports subcommands lazily, so that `--help` and each subcommand start fast."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The subcommands, in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """One subcommand, imported; None if there is none of this name."""
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        module = importlib.import_module(f"provenafs.cli.{verb.module}")
        command = _as_command(cmd_name, getattr(module, verb.attribute))
        add_examples(cmd_name, command)
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The subcommand that is named; for one that does not exist the nearest is suggested."""
        if args[0] not in VERBS and (near := difflib.get_close_matches(args[0], VERBS, 1)):
            ctx.fail(f"No such command '{args[0]}'. Did you mean '{near[0]}'?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])


def plain_app(**options: Any) -> typer.Typer:
    """A typer app that reports usage errors in plain lines."""
    return typer.Typer(
        rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False, **options
    )


EXIT_STATUS = (
    "Exit status: 0 done, 1 failed, 2 usage or configuration error, 3 login required, 4 not found,"
    " 5 refused, 6 service unavailable, 7 rejected by the service, 70 internal error,"
    " 130 interrupted."
)

app = plain_app(cls=LazyGroup, no_args_is_help=True, epilog=EXIT_STATUS)


def main() -> NoReturn:
    """The command `provenafs`."""
    if "_PROVENAFS_COMPLETE" in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()
    run(app)


def run(app: Callable[[], object]) -> NoReturn:
    """Run a command line: a failure is one sentence on stderr and an exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names hold what not every terminal can show.
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except BrokenPipeError:
        # Whoever reads has enough. What is buffered must not fail once more at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 1
    except Exception as error:
        status = _report(error)
    except BaseExceptionGroup as group:
        status = _report(group)
    else:
        status = 0
    sys.exit(status)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"provenafs {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version and exit.",
            is_eager=True,
            callback=_show_version,
        ),
    ] = False,
) -> None:
    """Mount the datasets of a Provena data store as a drive."""


def _as_command(name: str, target: typer.Typer | Callable[..., Any]) -> Any:
    if isinstance(target, typer.Typer):
        return command_of(target)
    single = plain_app()
    single.command(name)(target)
    return command_of(single)


def _report(error: BaseException) -> int:
    from provenafs.cli.failures import explain
    from provenafs.printable import printable

    if os.environ.get("PROVENAFS_TRACEBACK") == "1":
        import traceback

        traceback.print_exception(error)
    status, sentence = explain(error)
    print(f"provenafs: {printable(sentence)}", file=sys.stderr)
    return int(status)
