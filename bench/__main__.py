"""The command line of the benchmark."""

from __future__ import annotations

import fcntl
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import platformdirs
import typer
from rich.console import Console

from bench.report import draw_chart, print_peers, print_result, print_summary, write_json
from bench.rows import Row
from bench.rows_capped import CAPPED_ROWS
from bench.rows_read import READ_ROWS
from bench.rows_science import SCIENCE_ROWS
from bench.rows_write import WRITE_ROWS
from bench.runner import Result, Runner
from bench.scale import FULL, QUICK, Scale
from bench.servers import BenchError, running_site
from provenafs.sandbox.errors import SandboxError

ROWS = {row.name: row for row in (*READ_ROWS, *SCIENCE_ROWS, *WRITE_ROWS, *CAPPED_ROWS)}
_PIPE_WIDTH = 120
_STATE = platformdirs.user_cache_path("provenafs-bench")


def main(
    quick: Annotated[bool, typer.Option(help="Less data and one round.")] = False,
    rows: Annotated[
        str, typer.Option(metavar="NAME,…", help="Measure these rows only; see --list.")
    ] = "",
    peers: Annotated[
        str, typer.Option(metavar="NAME,…", help="Compare with these only, bare clients included.")
    ] = "",
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds of each row.")] = None,
    output: Annotated[Path, typer.Option(help="Where the JSON goes.")] = Path("bench/results.json"),
    chart: Annotated[Path | None, typer.Option(help="Where a PNG goes.")] = None,
    state: Annotated[
        Path, typer.Option(help="Where the sandbox and the data stay for the next time.")
    ] = _STATE,
    names: Annotated[bool, typer.Option("--list", help="Print the names of the rows.")] = False,
) -> None:
    """Compare the speed of provenafs with rclone, s3fs and bare clients of the same S3 server."""
    scale = QUICK if quick else FULL
    scale = replace(scale, rounds=rounds or scale.rounds)
    if names:
        for row in ROWS.values():
            print(f"{row.name:20}{scale.describe(row.title)}")
        return
    console = Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH)
    try:
        chosen = _chosen(_names(rows), _names(peers))
        results = _measure(console, chosen, scale, state.absolute(), output)
    except (BenchError, SandboxError) as error:
        console.print(f"bench: {error}", style="red", markup=False)
        raise typer.Exit(1) from None
    print_summary(console, results)
    if quick:
        console.print("With so little data start-up weighs too much: goals are for whole runs.")
    if chart is not None:
        draw_chart(chart, results)


def _measure(
    console: Console, rows: Sequence[Row], scale: Scale, state: Path, output: Path
) -> list[Result]:
    with _home(state / scale.name) as home, console.status("starting a sandbox") as status:
        results: list[Result] = []
        with running_site(home) as site:
            runner = Runner(site, scale, status.update)
            peers = list(runner.peers.values())
            print_peers(console, peers)
            try:
                for row in rows:
                    results.append(runner.measure(row))
                    print_result(console, results[-1])
            finally:
                write_json(output, peers, results, scale)
        return results


def _names(given: str) -> list[str]:
    return [name.strip() for name in given.split(",") if name.strip()]


def _chosen(names: Sequence[str], peers: Sequence[str]) -> list[Row]:
    known = {name for row in ROWS.values() for name in (*row.peers, *row.bare)}
    for name in names:
        if name not in ROWS:
            raise BenchError(f"there is no row '{name}': see --list")
    for name in peers:
        if name not in known:
            raise BenchError(f"there is no peer '{name}': there are {', '.join(sorted(known))}")
    rows = [ROWS[name] for name in names] or list(ROWS.values())
    return [row.only(peers) for row in rows]


@contextmanager
def _home(home: Path) -> Iterator[Path]:
    """The folder for everything, held by one benchmark; SIGTERM ends it as Ctrl-C does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchError(f"another benchmark runs in {home}: see --state") from None
        try:
            yield home
        finally:
            for passing in ("peers", "scratch"):
                shutil.rmtree(home / passing, ignore_errors=True)


if __name__ == "__main__":
    typer.run(main)
