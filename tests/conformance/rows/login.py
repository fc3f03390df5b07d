"""Rows of the client's logins."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
import webbrowser

from provenaclient import ProvenaClient
from provenaclient.auth import DeviceFlow, OfflineFlow

from rows.client import Sandbox, listing, raises, row, scratch_directory


@row
async def auth_offline_flow(sandbox: Sandbox) -> None:
    assert sandbox.alice._auth.get_token().count(".") == 2
    config = sandbox.config()
    words = "Failed to validate new tokens generated from offline token file."
    with raises(Exception, words=words):
        OfflineFlow(config=config, client_id="integration-tests", offline_token="bad")


@row
async def auth_device_flow(sandbox: Sandbox) -> None:
    opened: list[str] = []

    def approve(url: str) -> bool:
        opened.append(url)
        code = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)["user_code"][0]
        form = {"user_code": code, "username": "alice", "password": "alice"}
        page = url.partition("?")[0]
        with urllib.request.urlopen(page, urllib.parse.urlencode(form).encode()) as answer:
            return answer.status == 200

    original, webbrowser.open = webbrowser.open, approve
    try:
        with scratch_directory() as folder:
            first = DeviceFlow(config=sandbox.config(), client_id="client-tools")
            tokens = json.loads((folder / ".tokens.json").read_text())
            assert set(tokens) == {"access_token", "refresh_token"}
            assert len(opened) == 1 and opened[0].startswith(sandbox.urls["realm"] + "/device?")
            second = DeviceFlow(config=sandbox.config(), client_id="client-tools")
            assert len(opened) == 1
            first.refresh_tokens()
            assert json.loads((folder / ".tokens.json").read_text()) != tokens
            config = sandbox.config()
            client = ProvenaClient(auth=second, config=config)
            assert (await client.datastore.list_datasets(listing())).status.success
            first.force_refresh()
            assert len(opened) == 2
    finally:
        webbrowser.open = original


@row
async def auth_device_refused(sandbox: Sandbox) -> None:
    def deny(url: str) -> bool:
        code = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)["user_code"][0]
        form = {"user_code": code, "username": "bob", "password": "bob", "decision": "deny"}
        page = url.partition("?")[0]
        with urllib.request.urlopen(page, urllib.parse.urlencode(form).encode()) as answer:
            return answer.status == 200

    original, webbrowser.open = webbrowser.open, deny
    try:
        with scratch_directory():
            flow = DeviceFlow(config=sandbox.config(), client_id="client-tools")
            try:
                flow.get_token()
            except Exception:
                return
            raise AssertionError("a refused device got a token")
    finally:
        webbrowser.open = original
