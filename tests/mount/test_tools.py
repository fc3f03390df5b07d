"""Ordinary tools, unmodified, on a mount; compared with the bytes that were put in."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import run
from tests.support.mounting import Drive, MountAs
from tests.support.running_sandbox import RunningSandbox

OCEAN = "10378.1/1451860"
PENGUINS = "10378.1/1451870"
TABLES = "10378.1/1451880"
LARGE = "10378.1/1451900"


@pytest.mark.parametrize(
    "copy",
    [
        pytest.param(lambda data, to: run("cp", "-r", f"{data}/.", to), id="cp -r"),
        pytest.param(lambda data, to: run("cp", "-r", "--sparse=always", f"{data}/.", to),
                     id="cp --sparse"),
        pytest.param(lambda data, to: run("rsync", "-a", f"{data}/", to), id="rsync"),
        pytest.param(lambda data, to: run("rsync", "-aS", f"{data}/", to), id="rsync --sparse"),
        pytest.param(
            lambda data, to: run("sh", "-c", f"tar cS -C '{data}' . | tar x -C '{to}'"), id="tar cS"
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("handle", [OCEAN, TABLES])
def test_copies_of_files_never_read_before_hold_every_byte(
    sandbox: RunningSandbox,
    mount_as: MountAs,
    tmp_path: Path,
    handle: str,
    copy: Callable[[Path, Path], object],
) -> None:
    to = tmp_path / "copy"
    to.mkdir()
    copy(mount_as("alice").data(handle), to)
    _assert_equal(to, sandbox.manifest[handle])


def _assert_equal(folder: Path, manifest: dict[str, Any]) -> None:
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    expected = {name: seen for name, seen in manifest.items() if not name.endswith("/")}
    assert found.keys() == expected.keys()
    for name, seen in expected.items():
        assert hashlib.sha256(found[name].read_bytes()).hexdigest() == seen["sha256"], name


def test_sha256sum_of_a_large_file(sandbox: RunningSandbox, alice: Drive) -> None:
    for name, seen in sandbox.manifest[LARGE].items():
        assert run("sha256sum", alice.data(LARGE) / name).split()[0] == seen["sha256"]


def test_find_du_df_stat_and_ls(sandbox: RunningSandbox, alice: Drive) -> None:
    data = alice.data(OCEAN)
    files = {name for name in sandbox.manifest[OCEAN] if not name.endswith("/")}
    found = run("find", ".", "-type", "f", cwd=data).splitlines()
    assert {line[2:] for line in found} == files
    total = sum(sandbox.manifest[OCEAN][name]["size"] for name in files)
    assert int(run("du", "-sb", data).split()[0]) == total
    assert "provena:" in run("df", alice.path)
    assert run("stat", "-c", "%s", data / "README.txt").strip() == str(
        sandbox.manifest[OCEAN]["README.txt"]["size"]
    )
    assert "README.txt" in run("ls", "-la", data)


def test_links_are_followed(alice: Drive) -> None:
    by_name = alice.path / "by-name" / "Palmer penguins"
    assert by_name.resolve() == alice.dataset(PENGUINS)
    assert run("head", "-c", "7", by_name / "data/penguins.csv") == "species"


def test_a_mapped_file_reads_like_any_other(sandbox: RunningSandbox, alice: Drive) -> None:
    name, seen = max(sandbox.manifest[OCEAN].items(), key=lambda item: item[1]["size"])
    with (
        (alice.data(OCEAN) / name).open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        assert hashlib.sha256(mapped).hexdigest() == seen["sha256"]


def test_reads_at_any_offset_and_beyond_the_end(sandbox: RunningSandbox, alice: Drive) -> None:
    path = alice.data(PENGUINS) / "penguins.csv"
    content = path.read_bytes()
    with path.open("rb", buffering=0) as file:
        for offset, size in ((0, 1), (5, 4096), (len(content) - 3, 10), (len(content) + 5, 10)):
            assert os.pread(file.fileno(), size, offset) == content[offset : offset + size]


def test_a_netcdf_variable_through_xarray(alice: Drive) -> None:
    xarray = pytest.importorskip("xarray")
    path = next(alice.data(OCEAN).rglob("A1B_north_america.nc"))
    with xarray.open_dataset(path) as dataset:
        assert 250 < float(dataset["air_temperature"].mean()) < 300


def test_a_table_through_pandas(alice: Drive) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.read_csv(alice.data(PENGUINS) / "penguins.csv")
    assert len(table) == 344
