"""Who may talk to the viewer: the person who started it, and those given the link.

The server listens on this machine only. But every page in every browser of the machine can send requests to it, and
other people may have accounts on the machine. So the Host must be this machine or a name that was given; a foreign
name that points to this machine is refused. The secret in the printed link is exchanged for a cookie. No other site
may embed or read the answers, or frame the page unless it was named. A link from elsewhere may open the page itself,
as links do; the page is the same for everybody and holds no data. Nothing can be written except marks, where a folder
for them was given, and only by the page.
"""

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
FRAME_ROOM = "/k/"
"""Addresses with this start and the frame's secret need no cookie: browsers withhold cookies of a framed site."""

PAGE_HEADER = "x-heatmap-viewer"
"""Sent by the page when it writes: other sites cannot send it without a preflight, which is refused."""


@dataclass(frozen=True)
class Doors:
    """Ways in beyond this machine's own names; none by default.

    Attributes
    ----------
    base_path : str
        The prefix that a gateway puts in front of every address, such as ``/node/c1/8700``. A prefix that the gateway
        removes again may be named as well.
    hosts : tuple of str
        Names of the gateway in its Host header.
    frame_ancestors : tuple of str
        Sites that may frame the page, in the syntax of a Content-Security-Policy.
    """

    base_path: str = ""
    hosts: tuple[str, ...] = ()
    frame_ancestors: tuple[str, ...] = ()
    known_hosts: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_path", "/" + self.base_path.strip("/") if self.base_path.strip("/") else "")
        object.__setattr__(self, "known_hosts", LOCAL_HOSTS | {_host_name(host) for host in self.hosts})


NO_DOORS = Doors()


def content_security_policy(frame_ancestors: Sequence[str] = ()) -> str:
    """Return what the page may load: its own files and nothing else."""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data: blob:",
            "connect-src 'self'",
            "font-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            f"frame-ancestors {' '.join(frame_ancestors) or repr('none')}",
        )
    )


class Gate:
    """ASGI middleware: refuses requests that must not be answered, and adds headers to the answers.

    Attributes
    ----------
    token : str
        Secret of the printed link; valid while the server runs, so that the link can be opened again.
    frame_token : str
        Secret in the addresses of a framed page.
    cookie_name : str
        Holds the port: cookies are shared between ports, and several viewers may run.
    writable : bool
        Whether the page may send marks; otherwise it can only read.
    """

    def __init__(
        self, app: ASGIApp, *, token: str, cookie_name: str, doors: Doors = NO_DOORS, writable: bool = False
    ) -> None:
        self.app = app
        self.token = token
        self.frame_token = secrets.token_urlsafe(24)
        self.cookie_name = cookie_name
        self.doors = doors
        self.writable = writable
        self._cookie_value = secrets.token_urlsafe(32)
        self._headers = {
            "content-security-policy": content_security_policy(doors.frame_ancestors),
            "x-content-type-options": "nosniff",
            "cross-origin-resource-policy": "same-origin",
            "cross-origin-opener-policy": "same-origin",
            "referrer-policy": "no-referrer",
            "permissions-policy": "camera=(), microphone=(), geolocation=()",
        }

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
                for name, value in self._headers.items():
                    headers[name] = value
                if "cache-control" not in headers:
                    headers["cache-control"] = "no-store"
            await send(message)

        scope, framed = self._inside(scope)
        answer = self.refusal_or_redirect(scope, framed=framed)
        await (self.app if answer is None else answer)(scope, receive, send_with_headers)

    def _inside(self, scope: Scope) -> tuple[Scope, bool]:
        """Return the request without the prefix of its address, and whether it holds the frame's secret."""
        path, base = scope["path"], self.doors.base_path
        if base and (path == base or path.startswith(base + "/")):
            path = path[len(base) :] or "/"
        framed = False
        if self.doors.frame_ancestors and path.startswith(FRAME_ROOM):
            secret, slash, rest = path[len(FRAME_ROOM) :].partition("/")
            if slash and _equal(secret, self.frame_token):
                path, framed = "/" + rest, True
        if path != scope["path"]:
            scope = {**scope, "path": path, "raw_path": path.encode()}
        return scope, framed

    def refusal_or_redirect(self, scope: Scope, *, framed: bool = False) -> Response | None:
        """Return the answer that ends the request here; None when the page may answer it."""
        headers = Headers(scope=scope)
        if _host_name(headers.get("host", "")) not in self.doors.known_hosts:
            known = ", ".join(("127.0.0.1", "localhost", *self.doors.hosts))
            return PlainTextResponse(f"this viewer answers to {known} only (--allow_host NAME)", status_code=400)
        reading = scope["method"] in ("GET", "HEAD")
        if not reading and not (scope["method"] == "PUT" and self.writable):
            allowed = "GET, HEAD, PUT" if self.writable else "GET, HEAD"
            return PlainTextResponse(f"only {allowed}", status_code=405, headers={"allow": allowed})
        if not reading and not self._is_from_the_page(headers):
            return PlainTextResponse("only the page itself may write", status_code=403)
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not self._may_open(scope, headers):
            return PlainTextResponse("requests from other sites are refused", status_code=403)
        if framed:
            return None
        offered = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token")
        if reading and scope["path"] == "/" and offered and _equal(offered[0], self.token):
            return self._with_cookie(headers)
        if not _equal(self._cookie_in(headers), self._cookie_value):
            return PlainTextResponse(
                "Not allowed. Open the link that view_heatmap_sync.py printed: it ends in ?token=...",
                status_code=403,
            )
        return None

    def _may_open(self, scope: Scope, headers: Headers) -> bool:
        """Return whether another site's link may open the page, in a tab or, where allowed, in a frame."""
        kinds = ("document", "iframe") if self.doors.frame_ancestors else ("document",)
        is_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") in kinds
        return is_link and scope["path"] == "/" and scope["method"] in ("GET", "HEAD")

    def _is_from_the_page(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        own = origin is None or _host_name(origin.partition("://")[2]) in self.doors.known_hosts
        return own and headers.get(PAGE_HEADER) == "1" and headers.get("sec-fetch-site", "same-origin") == "same-origin"

    def _with_cookie(self, headers: Headers) -> Response:
        """Return the redirect that removes the secret from the address.

        Browsers keep the fragment, which holds the view, across a redirect. The address and the cookie's path are
        relative to what the browser sees, whatever prefix a gateway adds. The cookie is Lax: a Strict one would not be
        sent where the link stood on another site.
        """
        answer = RedirectResponse("./", status_code=303)
        is_tls = headers.get("x-forwarded-proto", "").lower() == "https"
        answer.set_cookie(
            self.cookie_name,
            self._cookie_value,
            path=self.doors.base_path + "/" if self.doors.base_path else None,
            httponly=True,
            samesite="lax",
            secure=is_tls,
        )
        return answer

    def _cookie_in(self, headers: Headers) -> str:
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self.cookie_name)
        except CookieError:
            return ""
        return "" if morsel is None else morsel.value


def _equal(offered: str, secret: str) -> bool:
    """Compare in constant time, so that timing tells nothing about the secret."""
    return hmac.compare_digest(offered.encode(), secret.encode())


def _host_name(host: str) -> str:
    """Return the Host header without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()
