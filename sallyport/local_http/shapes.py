"""Every shape of an answer: codings, framings, statuses, ranges, redirects, cookies, files of any size, and raw ones that no library writes."""

import gzip
import hashlib
import zlib
from typing import Any

import brotli
import zstandard
from aiohttp import HttpVersion11, web

PIECE = 64 * 1024
TEXT = "".join(f"line {number} of what is sent, with ünïcödé\n" for number in range(200)).encode()
CODINGS = {
    "identity": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
}

RAW: dict[str, bytes] = {
    "trailers": (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nTrailer: X-Digest\r\n\r\n"
        b"5\r\nhello\r\n7;note=x\r\n, world\r\n0\r\nX-Digest: abc\r\n\r\n"
    ),
    "early-hints": (
        b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
    ),
    "processing": b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    "no-reason": b"HTTP/1.1 200 \r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
    "odd-reason": b"HTTP/1.1 299 All's w\xe9ll (mostly)\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok",
    "until-close": b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nuntil the end",
    "old": b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nfrom another time",
    "no-type": b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbare",
    "same-twice": (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nVary: A\r\nVary: B\r\nX-Empty:\r\nX-Cafe: au lait cr\xe9m\xe9\r\n"
        b"Link: <a>; rel=x\r\nLink: <b>; rel=y\r\nContent-Length: 2\r\n\r\nok"
    ),
    "no-body-304": b'HTTP/1.1 304 Not Modified\r\nETag: "v1"\r\nContent-Length: 500\r\n\r\n',
    "reset-content": b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
    "tiny-chunks": (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"1\r\n%c\r\n" % byte for byte in b"one by one")
        + b"0\r\n\r\n"
    ),
}
"""Answers byte for byte."""


ENDS = ("until-close", "old")
"""Those of them that end with the connection."""


class _Raw(web.StreamResponse):
    """These bytes and nothing else."""

    def __init__(self, data: bytes, *, keep_alive: bool) -> None:
        super().__init__()
        self._data = data
        self._keeps = keep_alive

    @property
    def keep_alive(self) -> bool | None:
        """What aiohttp asks before it waits for the next request."""
        return self._keeps

    async def prepare(self, request: Any) -> None:
        self._request = request

    async def write_eof(self, data: bytes = b"") -> None:
        transport = self._request.transport
        if transport is not None:
            transport.write(self._data)


def routes(router: web.UrlDispatcher, files: dict[str, bytes]) -> None:
    """Add all of them."""
    router.add_route("*", "/echo", echo)
    router.add_route("*", "/mirror", mirror)
    router.add_get("/encoded/{coding}", encoded)
    router.add_get("/text/{framing}", text)
    router.add_route("*", "/status/{code}", status)
    router.add_route("*", "/redirect/{code}", redirect)
    router.add_get("/conditional", conditional)
    router.add_get("/cookies", cookies)
    router.add_get("/heads/{count}/{size}", heads)
    router.add_get("/bytes/{size}", generated)
    router.add_get("/raw/{name}", raw)
    router.add_get("/multipart", multipart)

    async def put(request: web.Request) -> web.Response:
        """Any size: counted and digested, kept if it is small."""
        digest, length, kept = hashlib.sha256(), 0, bytearray()
        async for piece in request.content.iter_any():
            digest.update(piece)
            length += len(piece)
            if length <= 1 << 20:
                kept += piece
        files[request.match_info["name"]] = bytes(kept)
        return web.json_response({"bytes": length, "sha256": digest.hexdigest()}, status=201)

    async def get(request: web.Request) -> web.Response:
        """With ranges."""
        content = files.get(request.match_info["name"], TEXT)
        headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", "ETag": '"v1"'}
        wanted = request.http_range
        if wanted.start is None and wanted.stop is None:
            return web.Response(body=content, headers=headers)
        first, behind, _ = slice(wanted.start, wanted.stop).indices(len(content))
        if first >= behind:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{len(content)}"})
        headers["Content-Range"] = f"bytes {first}-{behind - 1}/{len(content)}"
        return web.Response(status=206, body=content[first:behind], headers=headers)

    router.add_put("/files/{name}", put)
    router.add_post("/files/{name}", put)
    router.add_get("/files/{name}", get)


async def echo(request: web.Request) -> web.Response:
    """The body as it came, with its type."""
    kind = {"Content-Type": request.headers["Content-Type"]} if "Content-Type" in request.headers else {}
    return web.Response(body=await request.read(), headers=kind)


async def mirror(request: web.Request) -> web.Response:
    """What was asked, as JSON, but for the credential."""
    body = await request.read()
    headers = [
        [name.decode("latin-1"), value.decode("latin-1")]
        for name, value in request.raw_headers
        if name.lower() != b"authorization"
    ]
    digest = hashlib.sha256(body).hexdigest()
    told = {
        "method": request.method,
        "target": request.raw_path,
        "headers": headers,
        "bytes": len(body),
        "sha256": digest,
    }
    return web.json_response(told)


async def encoded(request: web.Request) -> web.Response:
    """JSON under a content coding."""
    coding = request.match_info["coding"]
    kind = {"Content-Type": "application/json"} | ({"Content-Encoding": coding} if coding != "identity" else {})
    body = b'{"lines": ["' + TEXT.replace(b"\n", b" ") + b'"]}'
    return web.Response(body=CODINGS[coding](body), headers=kind)


async def text(request: web.Request) -> web.StreamResponse:
    """The same text under each framing."""
    framing = request.match_info["framing"]
    answer = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
    if framing == "length":
        answer.content_length = len(TEXT)
    elif framing == "chunked" and request.version >= HttpVersion11:
        answer.enable_chunked_encoding()
    elif framing == "close":
        answer.force_close()
    await answer.prepare(request)
    for at in range(0, len(TEXT) if request.method == "GET" else 0, 1000):
        await answer.write(TEXT[at : at + 1000])
    return answer


async def status(request: web.Request) -> web.Response:
    """That status."""
    await request.read()
    code = int(request.match_info["code"])
    return web.Response(status=code) if code in {204, 304} else web.Response(status=code, text=f"status {code}\n")


async def redirect(request: web.Request) -> web.Response:
    """There: `to` may be a path, or the origin itself as an absolute URL (`to=absolute`), or another one."""
    await request.read()
    to = request.query.get("to", "/counter")
    to = f"{request.scheme}://{request.host}/counter" if to == "absolute" else to
    return web.Response(status=int(request.match_info["code"]), headers={"Location": to}, text="over there\n")


async def conditional(request: web.Request) -> web.Response:
    """Validators."""
    headers = {"ETag": '"v1"', "Last-Modified": "Tue, 01 Jul 2025 00:00:00 GMT", "Cache-Control": "max-age=60"}
    if request.headers.get("If-None-Match") == '"v1"' or "If-Modified-Since" in request.headers:
        return web.Response(status=304, headers=headers)
    return web.Response(text="fresh\n", headers=headers)


async def cookies(request: web.Request) -> web.Response:
    """Sets some; tells those that came."""
    answer = web.json_response({"came": dict(sorted(request.cookies.items()))})
    answer.set_cookie("sid", "s-" + "7" * 20, path="/", httponly=True, samesite="Lax")
    answer.set_cookie("theme", "dark", path="/customers", max_age=3600)
    answer.del_cookie("old")
    return answer


async def heads(request: web.Request) -> web.Response:
    """So many headers of that size."""
    count, size = int(request.match_info["count"]), int(request.match_info["size"])
    return web.Response(text="ok\n", headers={f"X-Head-{number}": "h" * size for number in range(count)})


async def generated(request: web.Request) -> web.StreamResponse:
    """That many bytes, each piece another one, digestible by `digest_of`; with `text`, so many bytes of text."""
    size, text = int(request.match_info["size"]), "text" in request.query
    answer = web.StreamResponse(headers={"Content-Type": "text/plain" if text else "application/octet-stream"})
    if "chunked" in request.query:
        answer.enable_chunked_encoding()
    else:
        answer.content_length = size
    await answer.prepare(request)
    if request.method == "HEAD":
        return answer
    for piece in (TEXT[: min(len(TEXT), size - at)] for at in range(0, size, len(TEXT))) if text else pieces(size):
        await answer.write(piece)
    return answer


def pieces(size: int) -> Any:
    """What `/bytes/SIZE` sends."""
    base = bytes(range(256)) * (PIECE // 256)
    number = 0
    while size > 0:
        piece = number.to_bytes(8) + base[8:]
        yield piece[:size]
        size -= PIECE
        number += 1


def digest_of(size: int) -> str:
    """The SHA-256 of what `/bytes/SIZE` sends."""
    digest = hashlib.sha256()
    for piece in pieces(size):
        digest.update(piece)
    return digest.hexdigest()


async def raw(request: web.Request) -> web.StreamResponse:
    """One of `RAW`."""
    name = request.match_info["name"]
    return _Raw(RAW[name], keep_alive=name not in ENDS)


async def multipart(_: web.Request) -> web.Response:
    """Two parts."""
    body = (
        b"--frontier\r\nContent-Type: text/plain\r\n\r\nfirst\r\n"
        b'--frontier\r\nContent-Type: application/json\r\n\r\n{"second": true}\r\n--frontier--\r\n'
    )
    return web.Response(body=body, headers={"Content-Type": 'multipart/mixed; boundary="frontier"'})
