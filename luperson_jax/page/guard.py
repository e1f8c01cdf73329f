"""Who may ask: browsers on this machine that show this page, and nobody else.

A page of another site that the same browser shows may send requests here too, and a name of
another site may be made to point here (DNS rebinding). `Host` tells the one, `Origin` and
`Sec-Fetch-Site` the other; a page cannot forge them.
"""

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HOSTS = ("127.0.0.1", "localhost")
HOST = re.compile(rf"({'|'.join(map(re.escape, HOSTS))})(:\d{{1,5}})?", re.IGNORECASE)
READS = ("GET", "HEAD")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; "
    "script-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",  # with "no-referrer" forms would send `Origin: null`
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer. Nothing is loaded from elsewhere, and nobody else frames or reads the page."""


class Guard:
    """Middleware that refuses requests of other sites and puts `HEADERS` on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        reason = refusal(scope["method"], Headers(scope=scope))
        answer = PlainTextResponse(f"Refused: {reason}.\n", 403) if reason else self._app
        await answer(scope, receive, guarded)


def refusal(method: str, headers: Headers) -> str:
    """Why a request is refused; empty where it is not."""
    host = headers.get("host", "")
    if not HOST.fullmatch(host):
        return f"this page answers to {' and '.join(HOSTS)} alone, not to other names"
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is not None and origin != f"http://{host}":
        return "the request comes from a page of another site"
    if method not in READS and origin is None and site != "same-origin":
        return "a request that changes something must tell its origin"
    follows_link = method in READS and headers.get("sec-fetch-mode") == "navigate"
    if site in ("cross-site", "same-site") and not follows_link:
        return "the request comes from a page of another site"
    return ""
