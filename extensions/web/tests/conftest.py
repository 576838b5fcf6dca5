"""A page of two lines behind its guard, asked without a socket; jobs of small functions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from expotion_web.guard import Access, Guard

Asked = Callable[..., tuple[int, dict[str, str], bytes]]


async def _page(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    message = await receive()
    response = PlainTextResponse(f"{scope['path']} {len(message.get('body', b''))}")
    await response(scope, receive, send)


@pytest.fixture
def asked() -> Asked:
    """Ask a page behind an access: status, headers and body. `ws` opens a WebSocket: 101 or 403."""

    def ask(
        access: Access,
        method: str = "GET",
        path: str = "/",
        *,
        query: str = "",
        body: bytes = b"",
        ws: bool = False,
        **headers: str,
    ) -> tuple[int, dict[str, str], bytes]:
        given = {"host": "127.0.0.1:8000", **({"content-length": str(len(body))} if body else {})}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        scope = {
            "type": "websocket" if ws else "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in given.items() if value],
            "scheme": "http",
        }
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(Guard(_page, access)(scope, receive, send))
        if ws:
            return (101 if sent[0]["type"] == "websocket.accept" else 403), {}, b""
        found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], found, b"".join(message.get("body", b"") for message in sent[1:])

    return ask
