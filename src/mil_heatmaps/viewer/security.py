"""Who may talk to the viewer: the person who started it, and those given the link.

The server listens on this machine only, but every page in every browser of the machine can send requests
there, and other people may have accounts on it. So: the Host must be this machine (a foreign name that was
made to point here is refused), a secret from the printed link is swapped for a cookie that other sites cannot
send, nothing but reading is possible, and no other site may frame, embed or read what is answered.
"""

import hmac
import secrets
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "font-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

HEADERS: Mapping[str, str] = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Gate:
    """ASGI middleware: refuses whatever should not be answered, and adds the headers to what is.

    Attributes
    ----------
    token : str
        Secret of the printed link; good as long as the server runs, so that the link can be opened again.
    cookie_name : str
        Holds the port: cookies do not tell ports apart, and several viewers may run.
    """

    def __init__(self, app: ASGIApp, *, token: str, cookie_name: str) -> None:
        self.app = app
        self.token = token
        self.cookie_name = cookie_name
        self._cookie_value = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # no websockets here
            await PlainTextResponse("not found", status_code=404)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                if "cache-control" not in headers:
                    headers["cache-control"] = "no-store"
            await send(message)

        answer = self.refusal_or_redirect(scope)
        await (self.app if answer is None else answer)(scope, receive, send_with_headers)

    def refusal_or_redirect(self, scope: Scope) -> Response | None:
        """Return the answer that ends the request here, None when the page may answer it."""
        headers = Headers(scope=scope)
        if _host_name(headers.get("host", "")) not in LOCAL_HOSTS:
            return PlainTextResponse("this viewer answers to 127.0.0.1 and localhost only", status_code=400)
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("only GET and HEAD", status_code=405, headers={"allow": "GET, HEAD"})
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return PlainTextResponse("requests from other sites are refused", status_code=403)
        offered = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token")
        if offered and _equal(offered[0], self.token):
            # Browsers keep the fragment, which holds the view, over a redirect.
            answer = RedirectResponse("/", status_code=303)
            value = self._cookie_value
            answer.set_cookie(self.cookie_name, value, path="/", httponly=True, samesite="strict")
            return answer
        if not _equal(self._cookie_in(headers), self._cookie_value):
            return PlainTextResponse(
                "Not allowed. Open the link that view_heatmap_sync.py printed: it ends in ?token=...",
                status_code=403,
            )
        return None

    def _cookie_in(self, headers: Headers) -> str:
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self.cookie_name)
        except CookieError:
            return ""
        return "" if morsel is None else morsel.value


def _equal(offered: str, secret: str) -> bool:
    """Compare in a time that tells nothing of the secret."""
    return hmac.compare_digest(offered.encode(), secret.encode())


def _host_name(host: str) -> str:
    """Return the Host header without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()
