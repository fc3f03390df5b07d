"""Rows of the data store: lists, links, keys, search."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from provenaclient import ProvenaClient
from ProvenaInterfaces.DataStoreAPI import PresignedURLRequest
from ProvenaInterfaces.RegistryAPI import SortOptions

from rows.client import (
    AUTH,
    BAD_REQUEST,
    SERVER,
    Sandbox,
    credentials_request,
    download,
    grant,
    listing,
    lock,
    raises,
    request_release,
    row,
    scratch_directory,
)


@row
async def datastore_08_list(sandbox: Sandbox) -> None:
    await sandbox.mint()
    answer = await sandbox.alice.datastore.list_datasets(listing())
    times = [item.updated_timestamp for item in answer.items]
    assert times == sorted(times, reverse=True)
    assert answer.total_item_count == len(answer.items)


@row
async def datastore_09_sorts(sandbox: Sandbox) -> None:
    for name in ("b", "B", "ä", "a"):
        await sandbox.mint(name)
    by_name = {"sort_type": "DISPLAY_NAME", "ascending": True}
    answer = await sandbox.alice.datastore.list_datasets(listing(sort_by=by_name, page_size=500))
    names = [item.display_name for item in answer.items]
    assert names == sorted(names, key=str.encode)
    by_time = {"sort_type": "CREATED_TIME", "ascending": True}
    answer = await sandbox.alice.datastore.list_datasets(listing(sort_by=by_time, page_size=500))
    times = [item.created_timestamp for item in answer.items]
    assert times == sorted(times)
    with raises(SERVER, 500):
        bad = listing(sort_by={"sort_type": "RELEASE_TIMESTAMP"})
        await sandbox.alice.datastore.list_datasets(bad)


@row
async def datastore_10_pages(sandbox: Sandbox) -> None:
    for _ in range(4):
        handle = await sandbox.mint()
    store = sandbox.alice.datastore
    first = await store.list_datasets(listing(page_size=2))
    second = await store.list_datasets(listing(page_size=2, pagination_key=first.pagination_key))
    assert len(first.items) == len(second.items) == 2
    assert not {item.id for item in first.items} & {item.id for item in second.items}
    assert set(first.pagination_key) == {"id", "item_subtype", "updated_timestamp"}
    total = len(await store.list_all_datasets())
    full = await store.list_datasets(listing(page_size=total))
    assert len(full.items) == total and full.pagination_key is not None
    empty = await store.list_datasets(listing(page_size=total, pagination_key=full.pagination_key))
    assert (empty.items, empty.pagination_key) == ([], None)
    await grant(sandbox, handle, [])
    bobs = await sandbox.bob.datastore.list_datasets(listing(page_size=2))
    assert len(bobs.items) < 2 and bobs.not_authorised_count > 0
    assert bobs.pagination_key is not None


@row
async def datastore_11_list_all(sandbox: Sandbox) -> None:
    handles = {await sandbox.mint() for _ in range(3)}
    by_name = SortOptions(sort_type="DISPLAY_NAME", ascending=True)
    for sort in (None, by_name):
        found = [item.id for item in await sandbox.alice.datastore.list_all_datasets(sort)]
        assert handles <= set(found) and len(found) == len(set(found))


@row
async def datastore_12_for_all(sandbox: Sandbox) -> None:
    for _ in range(4):
        await sandbox.mint()
    request = listing(page_size=2)
    every: AsyncIterator[Any] = sandbox.alice.datastore.for_all_datasets(request, total_limit=3)
    assert len({item.id async for item in every}) == 3
    assert request.pagination_key is not None


@row
async def datastore_13_presigned_url(sandbox: Sandbox) -> None:
    handle = await sandbox.mint()

    async def presign(client: ProvenaClient, path: str) -> str:
        request = PresignedURLRequest(dataset_id=handle, file_path=path)
        return (await client.datastore.generate_dataset_presigned_url(request)).presigned_url

    disposition, content = download(await presign(sandbox.alice, "metadata.json"))
    assert disposition.startswith("attachment")
    assert json.loads(content) == await sandbox.metadata(handle)
    for bad in ("a..b", "missing"):
        with raises(BAD_REQUEST):
            await presign(sandbox.alice, bad)
    await grant(sandbox, handle, [], {"field-team": ["admin"]})
    with raises(AUTH):
        await presign(sandbox.carol, "metadata.json")


@row
async def datastore_14_read_credentials(sandbox: Sandbox) -> None:
    handle, store = await sandbox.mint(), sandbox.alice.datastore
    answer = await store.generate_read_access_credentials(credentials_request(handle))
    keys = answer.credentials
    assert keys.aws_access_key_id and keys.aws_secret_access_key and keys.aws_session_token
    left = keys.expiry - datetime.now(UTC)
    assert timedelta(hours=7, minutes=50) < left <= timedelta(hours=8)
    assert answer.console_session_url is None
    await grant(sandbox, handle, [])
    with raises(AUTH):
        request = credentials_request(handle)
        await sandbox.bob.datastore.generate_read_access_credentials(request)
    with raises(BAD_REQUEST):
        await store.generate_read_access_credentials(credentials_request("10378.1/9"))


@row
async def datastore_15_write_credentials(sandbox: Sandbox) -> None:
    handle, request = await sandbox.mint(), credentials_request
    issue = sandbox.alice.datastore.generate_write_access_credentials
    assert (await issue(request(handle))).credentials.aws_session_token
    for other in (sandbox.bob, sandbox.carol):
        with raises(AUTH):
            await other.datastore.generate_write_access_credentials(request(handle))
    await lock(sandbox, handle)
    with raises(AUTH):
        await issue(request(handle))
    pending = await sandbox.mint()
    await request_release(sandbox, pending)
    with raises(SERVER, 403):
        await issue(request(pending))


@row
async def datastore_16_search(sandbox: Sandbox) -> None:
    seen, hidden = await sandbox.mint("wobbegong"), await sandbox.mint("wobbegong hidden")
    await grant(sandbox, hidden, [])
    found = await sandbox.bob.datastore.search_datasets("wobbegong")
    assert [loaded.item.id for loaded in found.items] == [seen]
    assert found.items[0].score > 0
    assert [refused.id for refused in found.auth_errors] == [hidden]


@row
async def datastore_17_interactive(sandbox: Sandbox) -> None:
    handle = await sandbox.mint()
    dataset = await sandbox.alice.datastore.interactive_dataset(handle)
    assert (await dataset.fetch_dataset()).item.id == handle
    assert (await dataset.revert_dataset_metadata(0, "r")).status.success
    for issue in (
        dataset.generate_read_access_credentials,
        dataset.generate_write_access_credentials,
    ):
        assert (await issue(console_session_required=False)).credentials.aws_access_key_id
    with scratch_directory() as folder:
        (folder / "up").mkdir()
        (folder / "up" / "x.txt").write_text("x")
        await dataset.upload_all_files(str(folder / "up"))
        await dataset.download_all_files(str(folder / "down"))
        assert (folder / "down" / "x.txt").read_text() == "x"
        await dataset.download_specific_file("x.txt", str(folder / "one"))
        assert (folder / "one" / "x.txt").read_text() == "x"
    assert (await dataset.version("r")).new_version_id != handle
