"""The command line of the benchmark."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.report import draw_chart, print_peers, print_result, print_summary, write_json
from bench.rows import Row
from bench.rows_read import READ_ROWS
from bench.rows_write import WRITE_ROWS
from bench.runner import Result, Runner
from bench.scale import FULL, QUICK, Scale
from bench.servers import BenchError, running_site

ROWS = {row.name: row for row in (*READ_ROWS, *WRITE_ROWS)}
_PIPE_WIDTH = 120


def main(
    quick: Annotated[bool, typer.Option(help="Less data and one round.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="Measure this row; may be repeated.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds of each row.")] = None,
    output: Annotated[Path, typer.Option(help="Where the JSON goes.")] = Path("bench/results.json"),
    chart: Annotated[Path | None, typer.Option(help="Where a PNG goes.")] = None,
    rows: Annotated[bool, typer.Option("--rows", help="Print the names of the rows.")] = False,
) -> None:
    """Compare the speed of provenafs with rclone, s3fs and bare clients of the same S3 server."""
    scale = QUICK if quick else FULL
    scale = replace(scale, rounds=rounds or scale.rounds)
    if rows:
        for row in ROWS.values():
            print(f"{row.name:20}{scale.describe(row.title)}")
        return
    console = Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH)
    try:
        _measure(console, _chosen(only), scale, quick, output, chart)
    except BenchError as error:
        console.print(f"bench: {error}", style="red", markup=False)
        raise typer.Exit(1) from None


def _measure(
    console: Console,
    rows: Sequence[Row],
    scale: Scale,
    quick: bool,
    output: Path,
    chart: Path | None,
) -> None:
    with _home() as home, console.status("starting a sandbox") as status:
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
                write_json(output, peers, results, quick)
    print_summary(console, results)
    if quick:
        console.print("With so little data start-up weighs too much: goals are for whole runs.")
    if chart is not None:
        draw_chart(chart, results)


def _chosen(only: Sequence[str] | None) -> list[Row]:
    """Rows by name; the names may be separated by commas too."""
    names = [name for given in only or () for name in given.split(",")]
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        raise BenchError(f"there is no row '{unknown[0]}': see --rows")
    return [ROWS[name] for name in names] or list(ROWS.values())


@contextmanager
def _home() -> Iterator[Path]:
    """A folder for everything, removed at the end; SIGTERM ends the benchmark as Ctrl-C does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    home = Path(tempfile.mkdtemp(prefix="provenafs-bench."))
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    typer.run(main)
