"""Suppression lists, unsubscribe links and captured mail over HTTP."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from consumers.mail.capture import FOLDER, Capture
from consumers.mail.message import Outgoing
from gateway.settings import GatewaySettings
from streams import Redis, keys, mail
from tests.gateway.samples import Serve

ORG = "org-123"
LIST = mail.tenant(ORG)
JANE = mail.address_id(ORG, "jane@example.com")
AT = "/mail/suppressions"
BY_HAND = {"Content-Type": "application/x-www-form-urlencoded"}


async def call(http: ClientSession, method: str, path: str, **more: Any) -> tuple[int, Any]:
    async with http.request(method, path, **more) as response:
        return response.status, json.loads(await response.read())


def deeds(raw: Any) -> list[Any]:
    return [json.loads(row[b"a"]) for _, row in raw.xrange(keys.mail(LIST)["audit"])]


async def test_add_list_check_and_remove(http: ClientSession, raw: Any) -> None:
    body = {"address": "Jane@Example.com", "organizationId": ORG, "reason": "complaint"}
    status, answer = await call(http, "POST", AT, json=body)
    assert status == 200
    entry = answer["data"]
    assert entry["id"] == JANE
    assert entry["until"] == entry["since"] + 30 * 24 * 3_600_000
    assert entry["reason"] == "complaint"
    status, answer = await call(http, "GET", f"{AT}?organizationId={ORG}")
    assert answer["data"] == [entry]
    status, answer = await call(http, "GET", f"{AT}?organizationId=other")
    assert answer["data"] == []
    asked = {"address": "jane@example.com", "organizationId": ORG}
    status, answer = await call(http, "POST", AT + "/check", json=asked)
    assert answer["data"] == entry | {"suppressed": True}
    for _ in range(2):
        status, answer = await call(http, "DELETE", f"{AT}/{JANE}?organizationId={ORG}")
        assert (status, answer["data"]) == (200, {"id": JANE, "suppressed": False})
    status, answer = await call(http, "POST", AT + "/check", json=asked)
    assert answer["data"] == {"id": JANE, "suppressed": False}
    recorded = [(deed["actor"], deed["action"], deed["target"]) for deed in deeds(raw)]
    assert recorded == [("local", "mail.suppress", JANE), ("local", "mail.allow", JANE)]
    assert deeds(raw)[0]["parameters"] == {"reason": "complaint", "days": 30}
    assert "jane" not in json.dumps(deeds(raw)).lower()


async def test_without_an_end(http: ClientSession) -> None:
    body = {"address": "jane@example.com", "organizationId": ORG, "days": None}
    _, answer = await call(http, "POST", AT, json=body)
    assert answer["data"]["until"] is None


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/address"),
        ({"address": "evil"}, "/address"),
        ({"address": "a@b.com\r\nBcc: x@y.z"}, "/address"),
        ({"address": "a@b.com"}, "/organizationId"),
        ({"address": "a@b.com", "days": 0}, "/days"),
        ({"address": "a@b.com", "days": 3_651}, "/days"),
        ({"address": "a@b.com", "reason": ""}, "/reason"),
        ({"address": "a@b.com", "reason": "x\ny"}, "/reason"),
        ({"address": "a@b.com", "reason": "x" * 201}, "/reason"),
        ({"address": "a@b.com", "who": "x"}, "/who"),
    ],
)
async def test_what_is_no_entry(
    http: ClientSession, raw: Any, body: dict[str, Any], pointer: str
) -> None:
    status, answer = await call(http, "POST", AT, json=body)
    assert status == 422
    assert [fault["pointer"] for fault in answer["errors"]] == [pointer]
    assert list(raw.scan_iter("cs:mail:*")) == []


@pytest.mark.parametrize("entry_id", ["x", "A" * 64, "a" * 63, "jane@example.com"])
async def test_an_id_that_is_none(http: ClientSession, entry_id: str) -> None:
    status, answer = await call(http, "DELETE", f"{AT}/{entry_id}?organizationId={ORG}")
    assert (status, answer["code"]) == (404, "suppression_not_found")


@pytest.mark.parametrize(
    "query", ["start=x", "start=-1", "end=1000", "start=5&end=4", "from=1", "start=1&start=2"]
)
async def test_pages_have_bounds(http: ClientSession, query: str) -> None:
    for path in (f"{AT}?organizationId={ORG}&{query}", f"/mail/captured?{query}"):
        status, answer = await call(http, "GET", path)
        assert (status, answer["code"]) == (400, "invalid_query")


async def test_one_click_unsubscribe(http: ClientSession, redis: Redis, raw: Any) -> None:
    token = mail.unsubscribe_token(await mail.link_secret(redis), LIST, JANE)
    path = f"/mail/unsubscribe/{token}"
    async with http.get(path) as response:
        assert response.status == 200
        assert '<form method="post">' in await response.text()
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert await mail.suppressed(redis, LIST, JANE) is None
    for _ in range(3):
        click = "List-Unsubscribe=One-Click"
        async with http.post(path, data=click, headers=BY_HAND) as response:
            assert response.status == 200
    entry = await mail.suppressed(redis, LIST, JANE)
    assert entry is not None
    assert entry.reason == "unsubscribed"
    assert entry.until_ms is None
    assert [(deed["actor"], deed["target"]) for deed in deeds(raw)] == [("recipient", JANE)]


async def test_one_click_by_multipart_and_after_a_bounce(http: ClientSession, redis: Redis) -> None:
    await mail.suppress(redis, LIST, JANE, "bounced", duration_ms=1_000_000, who=b"")
    token = mail.unsubscribe_token(await mail.link_secret(redis), LIST, JANE)
    body = (
        '--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--'
    )
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    async with http.post(f"/mail/unsubscribe/{token}", data=body, headers=headers) as response:
        assert response.status == 200
    entry = await mail.suppressed(redis, LIST, JANE)
    assert entry is not None
    assert (entry.reason, entry.until_ms) == ("unsubscribed", None)


async def test_links_that_are_not_ours_and_posts_that_are_no_click(
    http: ClientSession, redis: Redis, raw: Any
) -> None:
    token = mail.unsubscribe_token(await mail.link_secret(redis), LIST, JANE)
    forged = mail.unsubscribe_token(b"x" * 32, LIST, JANE)
    for wrong in (forged, token[:-2], "x", "%00"):
        for method in ("GET", "POST"):
            data = "List-Unsubscribe=One-Click" if method == "POST" else None
            status, answer = await call(
                http, method, f"/mail/unsubscribe/{wrong}", data=data, headers=BY_HAND
            )
            assert (status, answer["code"]) == (404, "link_unknown")
    for body in ("", "x=y", "x" * 100_000):
        path = f"/mail/unsubscribe/{token}"
        status, answer = await call(http, "POST", path, data=body, headers=BY_HAND)
        assert (status, answer["code"]) == (422, "invalid_request")
    assert await mail.suppressed(redis, LIST, JANE) is None
    assert deeds(raw) == []


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    return tmp_path / FOLDER


async def keep(folder: Path, number: int) -> None:
    content = (
        b"From: a@b.com\r\nTo: jane@example.com\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n"
        b"Message-ID: <X@b.com>\r\nDate: Tue, 24 Nov 2026 08:00:00 +0000\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/mixed; boundary="x"\r\n\r\n'
        b'--x\r\nContent-Type: multipart/alternative; boundary="y"\r\n\r\n'
        b"--y\r\nContent-Type: text/plain\r\n\r\nplain\r\n"
        b"--y\r\nContent-Type: text/html\r\n\r\n<p>html</p>\r\n--y--\r\n"
        b"--x\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n"
        b'Content-Disposition: attachment; filename="a.pdf"\r\n\r\naGk=\r\n--x--\r\n'
    )
    identifier = "ABCDEFGH" * 3 + f"AAAAAAA{'ABCD'[number]}"
    outgoing = Outgoing(f"<{identifier}@b.com>", "bounce@b.com", ("jane@example.com", "john@e.com"),
                        content, 1_000 + number, utf8=False)  # fmt: skip

    async def nothing() -> None: ...

    await Capture(folder).send(outgoing, nothing)


async def test_captured_mail(serve: Serve, folder: Path) -> None:
    async with serve(GatewaySettings(host="127.0.0.1", port=0)) as http:
        assert await call(http, "GET", "/mail/captured") == (200, {"success": True, "data": []})
        for number in range(3):
            await keep(folder, number)
        (folder / "notes.txt").write_text("not a mail")
        (folder / "other.eml").write_text("not ours")
        _, answer = await call(http, "GET", "/mail/captured")
        ids = [one["id"] for one in answer["data"]]
        assert [one[:13] for one in ids] == ["0000000001002", "0000000001001", "0000000001000"]
        _, answer = await call(http, "GET", "/mail/captured?start=1&end=1")
        assert [one["id"] for one in answer["data"]] == ids[1:2]
        _, answer = await call(http, "GET", f"/mail/captured/{ids[0]}")
    shown = answer["data"]
    assert shown["subject"] == "Grüße"
    assert shown["envelope"] == {"from": "bounce@b.com", "to": ["jane@example.com", "john@e.com"]}
    assert (shown["text"].strip(), shown["html"].strip()) == ("plain", "<p>html</p>")
    assert shown["attachments"] == [
        {"filename": "a.pdf", "contentType": "application/pdf", "sizeBytes": 2, "content": "aGk="}
    ]
    assert {"name": "Message-ID", "value": "<X@b.com>"} in shown["headers"]


@pytest.mark.parametrize("mail_id", ["x", "other", "..%2f..%2fetc%2fpasswd", "0" * 46])
async def test_a_mail_that_was_not_captured(serve: Serve, folder: Path, mail_id: str) -> None:
    folder.mkdir()
    (folder / "other.eml").write_text("not ours")
    async with serve(GatewaySettings(host="127.0.0.1", port=0)) as http:
        status, answer = await call(http, "GET", f"/mail/captured/{mail_id}")
    assert (status, answer["code"]) == (404, "mail_not_found")


@pytest.mark.parametrize("name", ["DATA_DIR", "APP_ENV"])
async def test_nothing_is_captured_in_production(
    serve: Serve, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    await keep(folder, 0)
    if name == "DATA_DIR":
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, "production")
    async with serve(GatewaySettings(host="127.0.0.1", port=0)) as http:
        status, answer = await call(http, "GET", "/mail/captured")
    assert (status, answer["code"]) == (404, "mail_not_found")
