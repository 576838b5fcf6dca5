"""Who is let in: names, origins, tokens, sizes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from expotion_web import guard
from expotion_web.guard import COOKIE, Access, Guard

LOCAL = Access(frozenset({"127.0.0.1", "localhost", "::1"}), "default-src 'self'")
TOKEN = Access(LOCAL.hosts, LOCAL.policy, token="much-too-long-to-guess")
ME = "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("LocalHost", 200),
        ("[::1]:8000", 200),
        ("evil.example:8000", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.", 403),
        ("", 403),
    ],
)
def test_only_our_own_names(asked: Callable[..., Any], host: str, status: int) -> None:
    assert asked(LOCAL, host=host)[0] == status
    assert asked(LOCAL, host=host, ws=True)[0] == (101 if status == 200 else 403)
    assert asked(Access(None, "x"), host=host)[0] == 200


@pytest.mark.parametrize(
    ("origin", "let_in"),
    [(ME, True), ("", True), ("http://evil.example", False), ("http://127.0.0.1:9", False), ("null", False)],
)
def test_only_our_own_pages_may_change_something(asked: Callable[..., Any], origin: str, let_in: bool) -> None:
    assert asked(LOCAL, "POST", origin=origin, body=b"x")[0] == (200 if let_in else 403)
    assert asked(LOCAL, origin=origin, ws=True)[0] == (101 if let_in else 403)
    assert asked(LOCAL, origin=origin)[0] == 200


def test_a_token_comes_by_address_cookie_or_header(asked: Callable[..., Any]) -> None:
    for wrong in ({}, {"query": "token=x"}, {"cookie": f"{COOKIE}=x"}, {"authorization": "Bearer x"}):
        assert asked(TOKEN, **wrong)[0] == 401
        assert asked(TOKEN, ws=True, **wrong)[0] == 403
    status, headers, _ = asked(TOKEN, path="/live", query=f"a=1&token={TOKEN.token}")
    assert (status, headers["location"]) == (303, "/live?a=1")  # it does not stay in the address
    cookie = headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    for right in ({"cookie": cookie.partition(";")[0]}, {"authorization": f"Bearer {TOKEN.token}"}):
        assert asked(TOKEN, **right)[0] == 200
        assert asked(TOKEN, ws=True, **right)[0] == 101


def test_bodies_say_how_long_they_are_and_keep_to_it(asked: Callable[..., Any]) -> None:
    access = Access(None, "x", max_body_bytes=10, larger={"/upload": 20})
    assert asked(access, "POST", body=b"x" * 10)[0] == 200
    assert asked(access, "POST", body=b"x" * 11)[0] == 413
    assert asked(access, "PUT", "/upload", body=b"x" * 20)[0] == 200
    assert asked(access, "PUT", "/upload", body=b"x" * 21)[0] == 413
    assert asked(access, "PUT", "/upload/a", body=b"x" * 11)[0] == 413
    assert asked(access, "DELETE")[0] == 200
    assert asked(access, "DELETE", transfer_encoding="chunked")[0] == 411
    for length in ("", "-1", "1_0", "x", "²"):
        assert asked(access, "POST", content_length=length)[0] == 411


def test_every_answer_keeps_the_page_to_itself(asked: Callable[..., Any]) -> None:
    for host in ("localhost", "evil.example"):
        headers = asked(LOCAL, host=host)[1]
        assert headers["content-security-policy"] == "default-src 'self'"
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"


def test_a_body_that_stops_coming_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "IDLE_S", 0.01)
    heard: list[str] = []

    async def page(scope: Any, receive: Any, send: Any) -> None:
        heard.append((await receive())["type"])
        await PlainTextResponse("")(scope, receive, send)

    async def never() -> Any:
        await asyncio.sleep(60)

    async def nothing(_message: Any) -> None:
        pass

    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    asyncio.run(Guard(page, Access(None, "x"))(scope, never, nothing))
    assert heard == ["http.disconnect"]
