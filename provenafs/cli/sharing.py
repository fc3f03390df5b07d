"""share and credentials: ways to the files for others and for other tools."""

from __future__ import annotations

import json
import re
import shlex
from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer
from ProvenaInterfaces.DataStoreAPI import CredentialResponse

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
from provenafs.provena.client import Provena

_LONGEST_S = 24 * 3600
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


class Format(StrEnum):
    """How keys are printed."""

    env = "env"
    json = "json"
    aws_config = "aws-config"


def share(
    target: TargetArgument,
    expires: Annotated[str, typer.Option(help="For how long: 90s, 30m, 3h, up to 24h.")] = "3h",
    yes: YesOption = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print a link with which anybody can download one file until it expires."""
    found = Target.parse(target)
    if not found.path:
        raise ConfigError(f"'{target}' is no file: name one below a dataset's data directory")
    path, seconds = found.path, _seconds(expires)
    confirm(f"Let anybody with the link download {path} for {expires}", yes=yes)
    url = ask(
        found.settings(profile),
        lambda provena: provena.datastore.presigned_url(found.handle, path, seconds),
    )
    print(json.dumps({"url": url, "expires_in": seconds}) if as_json else url)


def credentials(
    target: TargetArgument,
    write: Annotated[bool, typer.Option("--write", help="Keys that may write.")] = False,
    form: Annotated[Format, typer.Option("--format", help="How to print them.")] = Format.env,
    console: Annotated[
        bool, typer.Option("--console", help="A link to the S3 console instead.")
    ] = False,
    profile: ProfileOption = None,
) -> None:
    """Print temporary keys to a dataset's files; whoever has them can use them."""
    found = Target.parse(target)

    async def issue(provena: Provena) -> tuple[CredentialResponse, str]:
        keys = await provena.datastore.credentials(
            found.handle, "write" if write else "read", console=console
        )
        location = (await provena.datastore.fetch(found.handle)).record.s3
        return keys, f"s3://{location.bucket_name}/{location.path}"

    settings = found.settings(profile)
    keys, address = ask(settings, issue)
    if not console:
        print(_printed(keys, address, settings.s3_endpoint_url, form))
    elif keys.console_session_url:
        print(keys.console_session_url)
    else:
        raise ConfigError("the data store gave no link to an S3 console")


def _printed(keys: CredentialResponse, address: str, endpoint: str | None, form: Format) -> str:
    expiry = keys.credentials.expiry
    variables = {
        "AWS_ACCESS_KEY_ID": keys.credentials.aws_access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.credentials.aws_secret_access_key,
        "AWS_SESSION_TOKEN": keys.credentials.aws_session_token,
        **({"AWS_ENDPOINT_URL": endpoint} if endpoint else {}),
    }
    if form is Format.json:
        # What credential_process of the AWS tools reads, and where the files are.
        return json.dumps(
            {
                "Version": 1,
                "AccessKeyId": keys.credentials.aws_access_key_id,
                "SecretAccessKey": keys.credentials.aws_secret_access_key,
                "SessionToken": keys.credentials.aws_session_token,
                "Expiration": _iso(expiry),
                "Location": address,
                "EndpointUrl": endpoint,
            },
            indent=2,
        )
    if form is Format.aws_config:
        lines = [f"{name.lower()} = {value}" for name, value in variables.items()]
        return "\n".join(
            ["[provena]", *(line.replace("aws_endpoint", "endpoint") for line in lines)]
        )
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    return "\n".join([*lines, f"# {address}, until {_iso(expiry)}"])


def _iso(expiry: datetime) -> str:
    return expiry.isoformat(timespec="seconds")


def _seconds(text: str) -> int:
    """Seconds of a duration such as 90s, 30m or 3h. Raises ConfigError outside 1 s to 24 h."""
    match = re.fullmatch(r"(\d{1,9})([smhd]?)", text.strip())
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 1 <= seconds <= _LONGEST_S:
        raise ConfigError(f"--expires '{text}' is not between 1s and 24h (such as 90s, 30m, 3h)")
    return seconds
