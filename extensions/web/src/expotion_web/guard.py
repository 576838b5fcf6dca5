"""Who may ask, and how much: Host, Origin, token and size of a body, checked before an application sees a request.

A page of another site can make a browser send requests here, and can have its own name point at this machine. The
first is known by its Origin, the second by its Host. A program is stopped by the token, where there is one.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

IDLE_S = 60.0
"""A sender that says nothing for this long has gone."""
COOKIE = "expotion"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
REFUSALS = {
    401: "open the address with its token, as it was printed when this was started",
    403: "this page is not open to other sites, nor under other names",
    408: "it did not arrive in time; send it again",
    411: "say how long it is (Content-Length)",
    413: "that is too much",
}


@dataclass(frozen=True)
class Access:
    """What is let in.

    `hosts` are the names that a Host header may hold (None: any, for what anybody may see); `token` must come with
    every request where there is one. `larger` lets bodies of some paths be longer than
    `max_body_bytes`. `policy` is the Content-Security-Policy; `refusal` makes the answer to what is not let in.
    """

    hosts: frozenset[str] | None
    policy: str
    token: str | None = None
    max_body_bytes: int = 16_384
    larger: Mapping[str, int] = field(default_factory=dict)
    refusal: Callable[[int, str], Response] = lambda status, _path: JSONResponse(
        {"problems": [REFUSALS[status]]}, status
    )

    def limit(self, path: str) -> int:
        """Bytes that a body may have."""
        return self.larger.get(path, self.max_body_bytes)

    def let_in(self, scope: Scope) -> int:
        """0, or the status that a request is refused with."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.hosts is not None:
            origin = headers.get("origin")
            changing = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
            if _name(host) not in self.hosts or (
                changing and origin is not None and urlsplit(origin).netloc != host
            ):
                return 403
        if self.token is not None and not any(
            secrets.compare_digest(given.encode(), self.token.encode()) for given in _given(scope, headers)
        ):
            return 401
        if scope["type"] == "http" and scope["method"] not in SAFE_METHODS:
            none = scope["method"] == "DELETE" and "transfer-encoding" not in headers  # its body may be left out
            length = headers.get("content-length", "0" if none else "")
            if not length.isascii() or not length.isdigit():
                return 411
            if int(length) > self.limit(scope["path"]):
                return 413
        return 0


class Guard:
    """An application behind its access. Adds the headers that keep a page to itself."""

    def __init__(self, app: Application, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or WebSocket."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        status = self.access.let_in(scope)
        if scope["type"] == "websocket":
            if status:
                await send({"type": "websocket.close", "code": 1008, "reason": REFUSALS[status]})
            else:
                await self.app(scope, receive, send)
            return
        safe = self._with_headers(send)
        if status:
            response = self.access.refusal(status, scope["path"])
            response.headers["Connection"] = "close"  # its body was not read
            await response(scope, receive, safe)
        elif self.access.token is not None and "token" in dict(parse_qsl(scope["query_string"].decode("latin-1"))):
            await self._remember(scope, receive, safe)
        else:
            await self.app(scope, _in_time(receive), safe)

    async def _remember(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The token goes from the address, where others might see it, into a cookie."""
        query = [
            (name, value) for name, value in parse_qsl(scope["query_string"].decode("latin-1")) if name != "token"
        ]
        response = RedirectResponse(scope["path"] + ("?" + urlencode(query) if query else ""), 303)
        assert self.access.token is not None
        secure = scope.get("scheme") == "https"
        response.set_cookie(COOKIE, self.access.token, httponly=True, samesite="strict", secure=secure)
        await response(scope, receive, send)

    def _with_headers(self, send: Send) -> Send:
        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Content-Security-Policy", self.access.policy)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        return sending


def _in_time(receive: Receive) -> Receive:
    """Messages as long as the body comes; one that stops coming has ended. After the body nothing is hurried."""
    whole = False

    async def receiving() -> MutableMapping[str, Any]:
        nonlocal whole
        if whole:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), IDLE_S)
        except TimeoutError:
            return {"type": "http.disconnect"}
        whole = not message.get("more_body", False)
        return message

    return receiving


def _name(host: str) -> str:
    """A Host header without its port."""
    return (
        host.partition("]")[0].removeprefix("[").lower() if host.startswith("[") else host.partition(":")[0].lower()
    )


def _given(scope: Scope, headers: Headers) -> list[str]:
    """Every token that a request carries."""
    found = [value for name, value in parse_qsl(scope["query_string"].decode("latin-1")) if name == "token"]
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        found.append(value.strip())
    cookies: SimpleCookie = SimpleCookie()
    cookies.load(headers.get("cookie", ""))
    return [*found, *([cookies[COOKIE].value] if COOKIE in cookies else [])]
