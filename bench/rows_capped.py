"""The rows on a network of which a connection gets only a part, as S3 gives it."""

from __future__ import annotations

from bench import bare
from bench.rows import MOUNTS, Goal, Network, Row
from bench.rows_read import copy_out, read_sequentially
from bench.rows_write import copy_in, write_sequentially

_CONNECTIONS = 32
"""What a mount may open at most."""
_LARGE = "large/field.bin"
_PEERS = tuple(name for name in MOUNTS if name != "provenafs")
_BOTO3 = f"boto3 × {_CONNECTIONS}"
_NEAR_BOTO3 = Goal(f"≥ 0.8 of {_BOTO3}", least=0.8, against=(_BOTO3,))
_AHEAD = Goal("ahead of every peer", least=1, against=_PEERS)


CAPPED_ROWS = (
    Row(
        "capped-read",
        "cold sequential read of {large}, 30 ms, 25 MB/s a connection",
        read_sequentially,
        (_NEAR_BOTO3, _AHEAD),
        Network.CAPPED,
        bare={_BOTO3: bare.read_whole_with_boto3(_LARGE, _CONNECTIONS)},
        needs=("large",),
        plain="Reading a large file",
    ),
    Row(
        "capped-write",
        "sequential write of {large} with close, 30 ms, 25 MB/s a connection",
        write_sequentially,
        (_NEAR_BOTO3, _AHEAD),
        Network.CAPPED,
        bare={_BOTO3: bare.write_with_boto3(_CONNECTIONS)},
        local=("large",),
        writes=True,
        plain="Writing a large file",
    ),
    Row(
        "capped-copy-out",
        "cp -r of {eights} × 8 MiB out of it, 30 ms, 25 MB/s a connection",
        copy_out("eights"),
        (_AHEAD,),
        Network.CAPPED,
        needs=("eights",),
        plain="Copying a folder of middling files from it",
    ),
    Row(
        "capped-copy-in",
        "cp -r of {eights} × 8 MiB into it, 30 ms, 25 MB/s a connection",
        lambda run: copy_in(run, "eights"),
        (_AHEAD,),
        Network.CAPPED,
        local=("eights",),
        writes=True,
        plain="Copying a folder of middling files into it",
    ),
)
