"""The shapes of requests and responses that must be the same through the edge: one a line, each with a name."""

from typing import NamedTuple

from sallyport.local_http.shapes import CODINGS, RAW


class Shape(NamedTuple):
    """One request. `body` is framed by `framing`: "length", "chunked" (pieces of `piece` bytes), or "as it is" where the headers say it."""

    name: str
    line: str
    headers: tuple[str, ...] = ()
    body: bytes | None = None
    framing: str = "length"
    piece: int = 1 << 16
    version: str = "1.1"

    @property
    def method(self) -> str:
        """The method."""
        return self.line.partition(" ")[0]

    def wire(self, prefix: str, *fixed: str) -> bytes:
        """Its bytes, with these header lines in front and the target behind this path."""
        method, _, target = self.line.partition(" ")
        lines = [f"{method} {prefix}{target} HTTP/{self.version}", *fixed, *self.headers]
        body = self.body or b""
        if self.body is not None and self.framing == "length":
            lines.append(f"Content-Length: {len(body)}")
        elif self.framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
            pieces = [body[at : at + self.piece] for at in range(0, len(body), self.piece)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        return "".join(f"{each}\r\n" for each in lines).encode("latin-1") + b"\r\n" + body


JSON = "Content-Type: application/json"
FORM = "Content-Type: application/x-www-form-urlencoded"
MULTIPART = (
    b"--b0undary\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nh\xc3\xa9llo\r\n"
    b'--b0undary\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\nContent-Type: application/octet-stream\r\n\r\n'
    b"\x00\x01\xfe\xff\r\n--b0undary--\r\n"
)  # fmt: skip


def noise(size: int) -> bytes:
    """That many bytes of every value."""
    return (bytes(range(256)) * (size // 256 + 1))[:size]


def _methods() -> list[Shape]:
    bare = [Shape(f"{method} without a body", f"{method} /mirror") for method in ("GET", "HEAD", "OPTIONS", "DELETE")]
    empty = [
        Shape(f"{method} with a length of 0", f"{method} /mirror", body=b"")
        for method in ("POST", "PUT", "PATCH", "DELETE", "GET")
    ]
    return [*bare, *empty, Shape("a method that a route knows", "PROPFIND /mirror", ("Depth: 1",))]


def _bodies() -> list[Shape]:
    sizes = {"1 byte": 1, "1000 bytes": 1000, "70 KB": 70_000, "600 KB": 600_000, "3 MB": 3_000_000}
    plain = [
        Shape(f"{method} {name}, {framing}", f"{method} /mirror", body=noise(size), framing=framing)
        for method in ("POST", "PUT", "PATCH")
        for name, size in sizes.items()
        for framing in ("length", "chunked")
    ]
    chunks = [
        Shape("no chunk", "POST /mirror", body=b"", framing="chunked"),
        Shape("chunks of one byte", "POST /echo", body=noise(300), framing="chunked", piece=1),
        Shape("a chunk of 1 MB", "POST /echo", body=noise(1 << 20), framing="chunked", piece=1 << 20),
        Shape(
            "chunk extensions and a trailer", "POST /mirror", ("Transfer-Encoding: chunked", "Trailer: X-Sum"),
            b"5;a=b\r\nhello\r\n6;c=\"d\"\r\n world\r\n0\r\nX-Sum: 7\r\n\r\n", "as it is",
        ),
        Shape("chunk sizes in capitals", "POST /echo", ("Transfer-Encoding: chunked",), b"00A\r\n0123456789\r\n0\r\n\r\n", "as it is"),
        Shape("Expect: 100-continue", "POST /echo", ("Expect: 100-continue",), body=b"after the word"),
        Shape("Expect: 100-continue, chunked", "POST /echo", ("Expect: 100-continue",), body=b"after", framing="chunked"),
        Shape("DELETE with a body", "DELETE /mirror", body=b"why"),
        Shape("GET with a body", "GET /mirror", body=b"odd"),
    ]  # fmt: skip
    return plain + chunks


def _types() -> list[Shape]:
    return [
        Shape("JSON", "POST /echo", (JSON,), '{"a": [1, 2.5e3, null, true, "ü€😀"], "": {}}'.encode()),
        Shape("JSON with a charset", "POST /echo", (f"{JSON}; charset=utf-8",), b'{"a": 1}'),
        Shape("JSON that is none", "POST /echo", (JSON,), b'{"a": '),
        Shape("JSON with a key twice", "POST /echo", (JSON,), b'{"a": 1, "a": 2}'),
        Shape("a form", "POST /echo", (FORM,), b"a=1&b=x+y&c=%C3%BC&d=&e"),
        Shape("a multipart form", "POST /echo", ("Content-Type: multipart/form-data; boundary=b0undary",), MULTIPART),
        Shape("text", "POST /echo", ("Content-Type: text/plain; charset=utf-8",), "grüß dich\n".encode()),
        Shape("text in latin-1", "POST /echo", ("Content-Type: text/plain; charset=iso-8859-1",), b"gr\xfc\xdf dich\n"),
        Shape("bytes", "POST /echo", ("Content-Type: application/octet-stream",), noise(5000)),
        Shape("an encoded body", "POST /echo", (JSON, "Content-Encoding: gzip"), CODINGS["gzip"](b'{"a": 1}')),
        Shape("a type without a body", "POST /mirror", (JSON,), b""),
    ]


def _responses() -> list[Shape]:
    codes = (
        200, 201, 202, 203, 204, 300, 301, 304, 307, 400, 402, 403, 404, 405, 406, 408, 409, 410, 412, 415, 418, 422, 429, 451, 500,
        501, 502, 503, 504, 599,
    )  # fmt: skip
    paths = (
        "/counter",
        "/text/length",
        "/text/chunked",
        "/files/a",
        "/redirect/302",
        "/status/404",
        "/status/204",
        "/encoded/gzip",
    )
    ranges = ("0-9", "5-", "-7", "0-0", "100000-", "0-99999")
    return [
        *[Shape(f"status {code}", f"GET /status/{code}") for code in codes],
        *[Shape(f"POST answered with {code}", f"POST /status/{code}", body=b"x") for code in (204, 404, 500)],
        *[Shape(f"HEAD {path}", f"HEAD {path}") for path in paths],
        *[Shape(f"range {each}", "GET /files/a", (f"Range: bytes={each}",)) for each in ranges],
        Shape("validators", "GET /conditional"),
        Shape("If-None-Match", "GET /conditional", ('If-None-Match: "v1"',)),
        Shape("If-None-Match that does not", "GET /conditional", ('If-None-Match: "v2"',)),
        Shape("If-Modified-Since", "GET /conditional", ("If-Modified-Since: Tue, 01 Jul 2025 00:00:00 GMT",)),
        *[
            Shape(f"coding {each}", f"GET /encoded/{each}", ("Accept-Encoding: gzip, deflate, br, zstd",))
            for each in CODINGS
        ],
        *[Shape(f"text by {each}", f"GET /text/{each}") for each in ("length", "chunked", "close")],
        *[Shape(f"raw {each}", f"GET /raw/{each}") for each in RAW],
        Shape("an event stream", "GET /events", ("Accept: text/event-stream",)),
        Shape("lines of JSON", "GET /export"),
        Shape("a multipart answer", "GET /multipart"),
        Shape("1 MB with a length", "GET /bytes/1000000"),
        Shape("1 MB in chunks", "GET /bytes/1000000?chunked=1"),
        Shape("nothing, with a length", "GET /bytes/0"),
        Shape("nothing, in chunks", "GET /bytes/0?chunked=1"),
    ]


def _heads() -> list[Shape]:
    return [
        Shape("many response headers", "GET /heads/150/10"),
        Shape("long response headers", "GET /heads/4/8000"),
        Shape("one long response header", "GET /heads/1/30000"),
        Shape("many request headers", "GET /mirror", tuple(f"X-Many-{number}: {number}" for number in range(120))),
        Shape("a long request header", "GET /mirror", (f"X-Long: {'l' * 30_000}",)),
        Shape("the same header again", "GET /mirror", ("X-Twice: 1", "X-Between: 0", "x-twice: 2")),
        Shape("an empty header", "GET /mirror", ("X-Empty:", "X-Blank:    ")),
        Shape("odd case and space", "GET /mirror", ("x-lOWER-Upper:\t spaced out \t",)),
        Shape("bytes above 127", "GET /mirror", ("X-Latin: caf\xe9 \xff",)),
        Shape("every token character", "GET /mirror", ("!#$%&'*+-.^`|~9Az: odd",)),
        Shape("accepts", "GET /mirror", ("Accept: text/html;q=0.9, */*;q=0.1", "Accept-Language: de", "Accept-Encoding: br")),
        Shape("cookies", "GET /mirror", ("Cookie: a=1; b=two; c=\"three\"",)),
        Shape("an idempotency key", "POST /mirror", ("Idempotency-Key: 7c1b",), b"{}"),
    ]  # fmt: skip


def _targets() -> list[Shape]:
    queries = (
        "",
        "a",
        "a=",
        "a=1&a=2",
        "a=%20+%2B",
        "q=%C3%BC%E2%82%AC",
        "q=a/b?c:d@e",
        "a[]=1&a[]=2",
        "=x",
        "&&",
        f"long={'q' * 6000}",
    )
    paths = (
        "/nowhere",
        "/nowhere/",
        "/",
        "/%C3%BC",
        "/a%20b",
        "/~tilde",
        "/a:b@c!$'()*+,=",
        "/customers",
        "/customers/2",
        "/customers?name=Bo%20Lindqvist",
    )
    return [
        *[Shape(f"query {each[:20]!r}", f"GET /mirror?{each}") for each in queries],
        *[Shape(f"path {each}", f"GET {each}") for each in paths],
    ]  # fmt: skip


def _ways() -> list[Shape]:
    return [
        *[Shape(f"redirect {code}", f"GET /redirect/{code}") for code in (301, 302, 303, 307, 308)],
        *[Shape(f"redirect {code} by absolute URL", f"GET /redirect/{code}?to=absolute") for code in (302, 308)],
        Shape("a relative redirect", "GET /redirect/302?to=there"),
        Shape("a redirect with a query", "GET /redirect/302?to=/mirror?a=1"),
        Shape("Set-Cookie", "GET /cookies"),
        Shape("a member is made", "POST /orders", (JSON,), b'{"total": 5}'),
        Shape("a file is sent", "PUT /files/new", body=noise(100_000)),
        Shape("a file is fetched", "GET /files/new"),
        Shape("HTTP/1.0", "GET /mirror", version="1.0"),
        Shape("HTTP/1.0, kept alive", "GET /mirror", ("Connection: keep-alive",), version="1.0"),
        Shape("HTTP/1.0 with a body", "POST /mirror", body=b"old", version="1.0"),
        Shape("HTTP/1.0 and chunks", "GET /text/chunked", version="1.0"),
        Shape("Connection: close", "GET /counter", ("Connection: close",)),
        Shape("Connection: keep-alive", "GET /counter", ("Connection: keep-alive",)),
    ]


SHAPES = [*_methods(), *_bodies(), *_types(), *_responses(), *_heads(), *_targets(), *_ways()]
