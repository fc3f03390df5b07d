"""share and credentials: links and temporary credentials for files."""

from __future__ import annotations

import json
import re
import shlex
import sys
from enum import StrEnum
from typing import Annotated

import typer

from provenafs.catalog.sharing import KEYS_LAST_S, LONGEST_LINK_S, Keys, issue_keys
from provenafs.catalog.sharing import share as make_link
from provenafs.cli.output import print_json
from provenafs.cli.target import (
    JsonOption,
    ProfileOption,
    Target,
    TargetArgument,
    YesOption,
    ask,
    confirm,
)
from provenafs.config import ConfigError
from provenafs.printable import is_printable
from provenafs.provena.errors import Unavailable

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Format(StrEnum):
    """Output formats of credentials."""

    env = "env"
    json = "json"
    aws_config = "aws-config"


def share(
    target: TargetArgument,
    file: Annotated[
        str | None, typer.Argument(help="The file's path below data/, if the target is not a file.")
    ] = None,
    expires: Annotated[
        str, typer.Option(help="Lifetime of the link: 90s, 30m, 3h, up to 24h.")
    ] = "3h",
    yes: YesOption = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a link to download one file; anybody who has it can use it until it expires."""
    found = Target.parse(target)
    path, seconds = found.path if file is None else file, _seconds(expires)
    if not path:
        raise ConfigError(f"'{target}' is not a file: give one below a dataset's data directory")
    confirm(f"Let anybody with the link download {path} for {expires}", yes=yes)
    url = ask(
        found.settings(profile),
        lambda provena: make_link(provena.datastore, found.handle, path, seconds),
    )
    if seconds > KEYS_LAST_S:
        print("The link may expire after 8 hours.", file=sys.stderr)
    if as_json:
        print_json({"handle": found.handle, "path": path, "url": url, "expires_in": seconds})
    else:
        print(_one_line(url))


def credentials(
    target: TargetArgument,
    write: Annotated[bool, typer.Option("--write", help="Credentials with write access.")] = False,
    form: Annotated[Format, typer.Option("--format", help="Output format.")] = Format.env,
    console: Annotated[
        bool, typer.Option("--console", help="Print a link to the S3 console instead.")
    ] = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print temporary credentials for a dataset's files; keep them secret."""
    found = Target.parse(target)
    settings = found.settings(profile)
    keys = ask(
        settings,
        lambda provena: issue_keys(
            provena.datastore, found.handle, "write" if write else "read", console=console
        ),
    )
    if not console:
        form = Format.json if as_json else form
        print(_printed(keys, settings.s3_endpoint_url, form))
    elif not keys.console_url:
        raise Unavailable("the data store gave no link to an S3 console")
    elif as_json:
        print_json({"ConsoleUrl": _one_line(keys.console_url)})
    else:
        print(_one_line(keys.console_url))


def _printed(keys: Keys, endpoint: str | None, form: Format) -> str:
    """For a shell that runs it, or a file that tools read: no value leaves its line."""
    expiry = keys.expiry.isoformat(timespec="seconds")
    for text in (keys.address, keys.access_key_id, keys.secret_access_key, keys.session_token):
        _one_line(text)
    if form is Format.json:
        # The format of credential_process of the AWS tools, and the location of the files.
        return json.dumps(
            {
                "Version": 1,
                "AccessKeyId": keys.access_key_id,
                "SecretAccessKey": keys.secret_access_key,
                "SessionToken": keys.session_token,
                "Expiration": expiry,
                "Location": keys.address,
                "EndpointUrl": endpoint,
            },
            indent=2,
        )
    settings = {
        "aws_access_key_id": keys.access_key_id,
        "aws_secret_access_key": keys.secret_access_key,
        "aws_session_token": keys.session_token,
    }
    # Quoted as well: not every shell takes a line that is typed or run for a comment (zsh).
    note = f"# {shlex.quote(keys.address)} until {shlex.quote(expiry)}"
    if form is Format.aws_config:
        settings |= {"endpoint_url": endpoint} if endpoint else {}
        lines = [f"{name} = {value}" for name, value in settings.items()]
        return "\n".join([note, "[profile provena]", *lines])
    settings |= {"aws_endpoint_url": endpoint} if endpoint else {}
    lines = [f"export {name.upper()}={shlex.quote(value)}" for name, value in settings.items()]
    return "\n".join([*lines, note])


def _one_line(text: str) -> str:
    """A text from a service, unchanged. Raises Unavailable unless it is plain text."""
    if not is_printable(text):
        raise Unavailable("the data store's response contains control characters and is not shown")
    return text


def _seconds(text: str) -> int:
    """Seconds of a duration such as 90s, 30m or 3h. Raises ConfigError outside 1 s to 24 h."""
    match = re.fullmatch(r"(\d{1,9})([smhd]?)", text.strip())
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 1 <= seconds <= LONGEST_LINK_S:
        raise ConfigError(f"--expires '{text}' is not between 1s and 24h (such as 90s, 30m, 3h)")
    return seconds
