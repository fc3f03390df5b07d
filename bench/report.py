"""What was measured, as tables, JSON and a chart."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.mounts import RCLONE_CACHING, Peer
from bench.rows import MOVED, SECONDS
from bench.rows_science import PATTERN_ROWS
from bench.runner import Result
from bench.scale import CONNECTION_BYTES_S, ROUND_TRIP_S, Scale

_COLOURS = {"rclone": "#3f79ad", RCLONE_CACHING: "#9db9d3", "s3fs": "#d08c3c"}
_PATTERNS = {row.name for row in PATTERN_ROWS}
_AHEAD_IN = 8 / 10
"""Of the rows of patterns, how many we must lead in."""


def print_peers(console: Console, peers: Iterable[Peer]) -> None:
    """The versions of what is compared, and the flags it runs with."""
    for peer in peers:
        console.print(f"[bold]{peer.name}[/]: {peer.version()}", highlight=False, soft_wrap=True)
        for what, writes in (("reading", False), ("writing", True)):
            flags = peer.flags(writes)
            if flags:
                console.print(f"  {what}: {' '.join(flags)}", highlight=False, soft_wrap=True)


def print_result(console: Console, result: Result) -> None:
    """One row: the medians of each peer, the ratio to ours, and the goals."""
    medians = result.medians
    names = list(dict.fromkeys(name for found in medians.values() for name in found))
    table = Table(title=result.title, title_justify="left", title_style="bold")
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    table.add_column("× ours", justify="right")
    table.add_column("rounds", justify="right")
    for peer, found in medians.items():
        ratio = _ratio(result, peer)
        table.add_row(
            peer,
            *(_figure(found.get(name)) for name in names),
            "" if ratio is None else f"{ratio:.2f}",
            str(len(result.rounds[peer])),
        )
    console.print(table)
    for peer, failure in result.failures.items():
        console.print(f"  {peer} failed: {failure}", markup=False, style="red")
    for goal, reached in result.goals():
        console.print(f"  {_verdict(goal.text, reached, _met(goal, reached))}", highlight=False)
    console.print()


def print_summary(console: Console, results: Sequence[Result]) -> None:
    """Each row beside its fastest peer, then every goal and whether it was reached."""
    _print_fastest(console, results)
    _print_goals(console, results)


def _print_fastest(console: Console, results: Sequence[Result]) -> None:
    table = Table("row", "seconds", MOVED, "fastest peer", "seconds", MOVED, "× ours")
    for result in results:
        fastest, ours = _fastest_peer(result), result.medians.get(result.ours)
        if fastest is None or ours is None:
            continue
        theirs = result.medians[fastest]
        table.add_row(
            result.row.name,
            *(_figure(ours.get(name)) for name in (SECONDS, MOVED)),
            fastest,
            *(_figure(theirs.get(name)) for name in (SECONDS, MOVED)),
            _figure(_ratio(result, fastest)),
        )
    console.print(table)
    patterns = [result for result in results if result.row.name in _PATTERNS]
    ratios = [_ratio(result, peer) for result in patterns if (peer := _fastest_peer(result))]
    if ratios:
        ahead = sum(ratio is not None and ratio > 1 for ratio in ratios)
        met = "met" if ahead >= _AHEAD_IN * len(ratios) else "missed"
        console.print(
            f"Ahead of every peer in {ahead} of {len(ratios)} patterns; eight of ten is {met}.\n",
            highlight=False,
        )


def _fastest_peer(result: Result) -> str | None:
    medians = result.medians
    peers = [name for name in result.row.peers[1:] if name in medians and name in _COLOURS]
    return min(peers, key=lambda name: medians[name][SECONDS], default=None)


def _print_goals(console: Console, results: Sequence[Result]) -> None:
    table = Table("row", "goal", "reached", "", title="Goals", title_justify="left")
    for result in results:
        for goal, reached in result.goals():
            met = _met(goal, reached)
            mark = {True: "[green]met[/]", False: "[red]missed[/]", None: "not measured"}[met]
            table.add_row(result.row.name, goal.text, _figure(reached), mark)
    console.print(table)


def write_json(path: Path, peers: Iterable[Peer], results: Sequence[Result], scale: Scale) -> None:
    """Everything measured, round by round."""
    document = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "scale": scale.name,
        "machine": _machine(),
        "round_trip_s": ROUND_TRIP_S,
        "connection_bytes_s": CONNECTION_BYTES_S,
        "peers": [_described(peer) for peer in peers],
        "rows": [_as_document(result) for result in results],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def draw_chart(path: Path, results: Sequence[Result]) -> None:
    """A PNG of how many times as long the peers take, by row, on a logarithmic scale."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawn = [
        result
        for result in reversed(results)
        if result.row.plain and any(_ratio(result, peer) for peer in _COLOURS)
    ]
    if not drawn:
        return
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.55 * len(drawn)))
    height = 0.8 / len(_COLOURS)
    for index, (peer, colour) in enumerate(_COLOURS.items()):
        places = [(place, _ratio(result, peer)) for place, result in enumerate(drawn)]
        bars = [(place, ratio) for place, ratio in places if ratio is not None]
        positions = [place + (1 - index) * height for place, _ in bars]
        widths = [ratio - 1 for _, ratio in bars]
        shapes = axes.barh(positions, widths, height, left=1, color=colour, label=peer)
        labels = [f"{ratio:.1f} ×" for _, ratio in bars]
        axes.bar_label(shapes, labels, padding=3, fontsize=7)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g} ×")
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(range(len(drawn)), [result.row.plain for result in drawn], fontsize=8)
    axes.set_xlabel("time taken, in multiples of provenafs (right of the line: slower)")
    axes.margins(x=0.12)
    axes.legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _ratio(result: Result, peer: str) -> float | None:
    """A peer's time in multiples of ours."""
    medians = result.medians
    try:
        return medians[peer][SECONDS] / medians[result.ours][SECONDS]
    except KeyError:
        return None


def _met(goal: Any, reached: float | None) -> bool | None:
    return None if reached is None else goal.is_met(reached)


def _verdict(text: str, reached: float | None, met: bool | None) -> str:
    if met is None:
        return f"? {text}: not measured"
    colour, mark = ("green", "✓") if met else ("red", "✗")
    return f"[{colour}]{mark}[/] {text}: {_figure(reached)}"


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"processors": os.cpu_count(), "memory_bytes": memory, "kernel": platform.release()}


def _described(peer: Peer) -> dict[str, Any]:
    return {
        "name": peer.name,
        "version": peer.version(),
        "flags": {"reading": peer.flags(False), "writing": peer.flags(True)},
    }


def _as_document(result: Result) -> dict[str, Any]:
    return {
        "name": result.row.name,
        "title": result.title,
        "ours": result.ours,
        "medians": result.medians,
        "rounds": result.rounds,
        "failures": result.failures,
        "goals": [
            {"goal": goal.text, "reached": reached, "met": _met(goal, reached)}
            for goal, reached in result.goals()
        ],
    }
