"""Seeds a new sandbox: people, sample datasets, and a manifest of their files.

| handle | name | owner | files | what it is for |
| --- | --- | --- | --- | --- |
| 10378.1/1451860 | Ocean and climate samples | alice | NetCDF, PP | real files for xarray, nested |
| 10378.1/1451870 | Palmer penguins | alice | CSV | pandas; its metadata was edited once |
| 10378.1/1451880 | Tables with awkward names | alice | CSV, JSON | blanks, scripts, depth |
| 10378.1/1451890 | Weather stations | alice | 5,000 CSV | many small files in 50 folders |
| 10378.1/1451900 | Large fields | alice | NetCDF, raw | two files over 64 MiB |
| 10378.1/1451910 | Reef survey | alice | CSV | version 1 of 3 |
| 10378.1/1451920 | Reef survey | alice | CSV | version 2 of 3 |
| 10378.1/1451930 | Reef survey | alice | CSV | version 3 of 3, the latest |
| 10378.1/1451940 | Released soil cores | alice | CSV | released by carol |
| 10378.1/1451950 | Soil cores under review | alice | CSV | waits for carol's review |
| 10378.1/1451960 | Locked tide gauges | alice | CSV | locked |
| 10378.1/1451970 | Embargoed genomes | admin | CSV | general: metadata only |
| 10378.1/1451980 | Satellite archive elsewhere | alice | none | hosted externally |
| 10378.1/1451990 | Private drafts | alice | CSV | seen by nobody else but admin |
| 10378.1/1452000 | Carol's notebook | carol | CSV | seen by carol and admin only |
| 10378.1/1452010 | Field team's diary | carol | CSV | read by the group of bob and carol only |
| 10378.1/1452020 | Rainfall | alice | CSV | the older of two of one name |
| 10378.1/1452030 | Rainfall | carol | CSV | the younger of two of one name |
| 10378.1/1452040 | CO₂/temperature: daily/hourly | alice | CSV | a name with slashes |
| 10378.1/1452050 | .. | alice | CSV | a name that is no file name |
| 10378.1/1452060 | Common pool | carol | CSV | everybody may write files, not metadata |

Every other dataset can be read by everybody who may use the registry. Each is a day younger than
the one above it. bob owns nothing; dave may not use the registry at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

from provenafs import private
from provenafs.sandbox import samples
from provenafs.sandbox.collection import CollectionFormat
from provenafs.sandbox.datastore import location_of
from provenafs.sandbox.gateway import Gateway
from provenafs.sandbox.kinds import ItemRole, LockAction
from provenafs.sandbox.messages import (
    AccessSettings,
    ReleaseRequest,
    ReviewRequest,
    VersionRequest,
)
from provenafs.sandbox.provision import GROUP_ID, REVIEWER, organisation_id, provision
from provenafs.sandbox.registry import HANDLE_PREFIX
from provenafs.sandbox.services import Lifetimes, Services
from provenafs.sandbox.store import Kind, Store
from provenafs.sandbox.users import ACCOUNTS, User

_FIRST_PERSON = 1451800
_FIRST_DAY = 1704067200  # 2024-01-01
_DAY_S = 24 * 3600
_SMALL_BYTES = 64 * 1024
_EVERYBODY = (ItemRole.METADATA_READ, ItemRole.DATA_READ)

Manifest = dict[str, dict[str, dict[str, Any]]]
"""By handle and path inside the dataset: `size` in bytes and `sha256`, without metadata.json."""


class Fate(Enum):
    """The final state of a sample dataset."""

    OPEN = auto()
    LOCKED = auto()
    UNDER_REVIEW = auto()
    RELEASED = auto()


@dataclass(frozen=True, slots=True)
class Sample:
    """One dataset to be made."""

    number: int
    name: str
    description: str
    files: samples.Files
    owner: str = "alice"
    general: tuple[ItemRole, ...] = _EVERYBODY
    groups: dict[str, list[str]] = field(default_factory=dict)
    fate: Fate = Fate.OPEN
    previous: int | None = None
    """The number of the version before it."""
    info: dict[str, Any] = field(default_factory=dict)
    """Further fields of dataset_info."""

    @property
    def handle(self) -> str:
        return f"{HANDLE_PREFIX}/{self.number}"


SAMPLES = (
    Sample(
        1451860,
        "Ocean and climate samples",
        "Fields of ocean and climate models, and observations to compare them with.",
        samples.ocean,
        info={
            "purpose": "Trying out tools on real NetCDF files",
            "formats": ["NetCDF", "PP"],
            "keywords": ["ocean", "climate", "sea surface temperature"],
            "user_metadata": {"project": "R-7"},
            "spatial_info": {
                "coverage": "SRID=4326;POLYGON ((-180 -90, 180 -90, 180 90, -180 90, -180 -90))"
            },
            "temporal_info": {"duration": {"begin_date": "2006-04-01", "end_date": "2015-04-01"}},
        },
    ),
    Sample(
        1451870,
        "Palmer penguins",
        "Size measurements of penguins near Palmer Station, Antarctica.",
        samples.penguins,
        info={"formats": ["CSV"], "keywords": ["penguins", "Antarctica"]},
    ),
    Sample(
        1451880,
        "Tables with awkward names",
        "Tables under names with blanks, quotes and other scripts.",
        samples.awkward_names,
    ),
    Sample(1451890, "Weather stations", "Ten days of 5,000 stations.", samples.stations),
    Sample(1451900, "Large fields", "Generated fields, each file over 64 MiB.", samples.large),
    Sample(1451910, "Reef survey", "Corals at forty sites.", samples.survey(2021)),
    Sample(
        1451920, "Reef survey", "Surveyed again in 2022.", samples.survey(2022), previous=1451910
    ),
    Sample(
        1451930, "Reef survey", "Surveyed again in 2023.", samples.survey(2023), previous=1451920
    ),
    Sample(
        1451940,
        "Released soil cores",
        "Reviewed, and final.",
        samples.note("Released."),
        fate=Fate.RELEASED,
    ),
    Sample(
        1451950,
        "Soil cores under review",
        "Waiting for a decision.",
        samples.note("Under review."),
        fate=Fate.UNDER_REVIEW,
    ),
    Sample(
        1451960,
        "Locked tide gauges",
        "Locked while the gauges are recalibrated.",
        samples.note("Locked."),
        fate=Fate.LOCKED,
    ),
    Sample(
        1451970,
        "Embargoed genomes",
        "The record is public, the files are not.",
        samples.note("Embargoed."),
        owner="admin",
        general=(ItemRole.METADATA_READ,),
    ),
    Sample(
        1451980,
        "Satellite archive elsewhere",
        "Kept at another institution.",
        samples.nothing,
        info={
            "access_info": {
                "reposited": False,
                "uri": "https://archive.example.org/satellite/",
                "description": "Open to everybody after registration.",
            }
        },
    ),
    Sample(1451990, "Private drafts", "Not for others yet.", samples.note("Private."), general=()),
    Sample(
        1452000,
        "Carol's notebook",
        "Not for others.",
        samples.note("Carol's."),
        owner="carol",
        general=(),
    ),
    Sample(
        1452010,
        "Field team's diary",
        "For the team only.",
        samples.note("The team's."),
        owner="carol",
        general=(),
        groups={GROUP_ID: ["metadata-read", "dataset-data-read"]},
    ),
    Sample(1452020, "Rainfall", "Gauge 1.", samples.note("The older one.")),
    Sample(1452030, "Rainfall", "Gauge 2.", samples.note("The younger one."), owner="carol"),
    Sample(1452040, "CO₂/temperature: daily/hourly", "A pair.", samples.note("Slashes.")),
    Sample(1452050, "..", "A name that is no file name.", samples.note("Dots.")),
    Sample(
        1452060,
        "Common pool",
        "Whoever has something to add may do so.",
        samples.note("Common."),
        owner="carol",
        general=(*_EVERYBODY, ItemRole.DATA_WRITE),
    ),
)


async def seed(store: Store, gateway: Gateway, manifest: Path) -> None:
    """Fill an empty store and an empty bucket, and then write the manifest.

    That the manifest exists therefore means that everything in it does.
    """
    services = Services.of(store, gateway, Lifetimes())
    _next_handle(store, _FIRST_PERSON)
    provision(services)
    files: Manifest = {}
    for sample in SAMPLES:
        await _make(services, sample)
        prefix = location_of(gateway.bucket, sample.handle).path
        files[sample.handle] = await _upload(gateway, prefix, sample.files())
        _share(services, sample)
        _seal(services, sample)
    await _edit(services, SAMPLES[1], "Named the station")
    for day, sample in enumerate(SAMPLES):
        _date(store, sample.handle, _FIRST_DAY + day * _DAY_S)
    private.replace(manifest, json.dumps(files))


async def _make(services: Services, sample: Sample) -> None:
    owner = ACCOUNTS[sample.owner].as_user()
    _next_handle(services.store, sample.number)
    if sample.previous is None:
        answer = await services.datastore.mint(owner, _collection(services, sample))
        assert answer.handle == sample.handle, answer.status.details
        return
    request = VersionRequest(id=f"{HANDLE_PREFIX}/{sample.previous}", reason=sample.description)
    version = await services.datastore.version(owner, request)
    assert version.new_version_id == sample.handle


async def _edit(services: Services, sample: Sample, reason: str) -> None:
    """Change a record's description, so that it has a history."""
    collection = _collection(services, sample)
    collection.dataset_info.description += " Measured by Dr. Kristen Gorman."
    owner = ACCOUNTS[sample.owner].as_user()
    await services.datastore.update(owner, sample.handle, reason, collection)


def _share(services: Services, sample: Sample) -> None:
    settings = AccessSettings(
        owner=sample.owner, general=list(sample.general), groups=sample.groups
    )
    services.access.write_settings(sample.handle, settings)


def _seal(services: Services, sample: Sample) -> None:
    owner, reviewer = ACCOUNTS[sample.owner].as_user(), ACCOUNTS[REVIEWER].as_user()
    if sample.fate is Fate.LOCKED:
        reason = "Recalibration"
        services.access.change_lock(sample.handle, owner, LockAction.LOCK, reason)
    if sample.fate in (Fate.UNDER_REVIEW, Fate.RELEASED):
        _ask_carol(services, owner, sample.handle)
    if sample.fate is Fate.RELEASED:
        decision = ReviewRequest(dataset_id=sample.handle, approve=True, notes="Well done")
        services.reviews.decide(reviewer, decision)


def _ask_carol(services: Services, owner: User, handle: str) -> None:
    request = ReleaseRequest(
        dataset_id=handle, approver_id=_person(services, REVIEWER), notes="Please have a look"
    )
    services.reviews.request(owner, request)


def _collection(services: Services, sample: Sample) -> CollectionFormat:
    organisation = organisation_id(services)
    undeclared = {"relevant": False, "obtained": False}
    document = {
        "associations": {
            "organisation_id": organisation,
            "data_custodian_id": _person(services, sample.owner),
        },
        "approvals": dict.fromkeys(
            ("ethics_registration", "ethics_access", "indigenous_knowledge", "export_controls"),
            undeclared,
        ),
        "dataset_info": {
            "name": sample.name,
            "description": sample.description,
            "access_info": {"reposited": True},
            "publisher_id": organisation,
            "created_date": {"relevant": True, "value": "2023-11-01"},
            "published_date": {"relevant": False},
            "license": "https://creativecommons.org/licenses/by/4.0/",
            **sample.info,
        },
    }
    return CollectionFormat.parse_obj(document)


def _person(services: Services, username: str) -> str:
    person = services.access.person_of(username)
    assert person is not None
    return person


def _next_handle(store: Store, number: int) -> None:
    """Have the next item minted under this number, whatever was minted before it."""
    store.put(Kind.SETTING, "sequence:handle", {"next": number})


def _date(store: Store, handle: str, created: int) -> None:
    """Set a record's times as if its history had been made an hour apart."""
    item = store.item(handle)
    assert item is not None
    for entry in item["history"]:
        entry["timestamp"] = created + 3600 * entry["id"]
    item["created_timestamp"] = created
    item["updated_timestamp"] = item["history"][0]["timestamp"]
    store.put_item(item)


async def _upload(
    gateway: Gateway, prefix: str, files: Iterator[samples.File]
) -> dict[str, dict[str, Any]]:
    """Upload files, small ones together; returns their manifest entries."""
    described: dict[str, dict[str, Any]] = {}
    small: list[samples.File] = []
    for path, data in files:
        described[path] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        if 0 < len(data) <= _SMALL_BYTES:
            small.append((prefix + path, data))
        else:
            await gateway.put(prefix + path, data)
    await gateway.put_many(small)
    return described
