"""Real clients through the edge: what a library does by itself (pools, redirects, cookies, codings, chunks, forms) works as without it.

Each client runs once directly and once through the whole product, and must see the same.
"""

import asyncio
import contextlib
import http.client
import io
import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohttp
import httpx
import pytest
import requests
import urllib3

from sallyport.local_http import Http, running_http
from tests.support.guarded_http import Behind, Guarded, guarded_http

LIMIT = 30.0  # seconds for one request
POLICY = """
version: 1
default: deny
rules:
- {id: everything, when: 'true', then: allow}
- id: look-for-what-is-not-there
  when: resource.labels[?"data"].orValue("") == "pii"
  then: mask
  mask: [{detect: [iban, private_key], with: redact, binary: pass}]
- {id: record, when: 'true', then: record, record: {responses: full}}
"""
CODINGS = ("identity", "gzip", "deflate")
"""What every client here decodes by itself."""
LARGE = b"0123456789abcdef" * 65536
FORM = {"name": "Ünal & Söhne", "empty": "", "plus": "a+b c"}


class Way(NamedTuple):
    """A base URL and the key that opens it."""

    base: str
    key: str

    @property
    def bearer(self) -> dict[str, str]:
        """The header that proves who asks."""
        return {"Authorization": f"Bearer {self.key}"}


class Ways(NamedTuple):
    """The service, and the product before it."""

    service: Http
    edge: Guarded

    def pair(self, resource: str) -> tuple[Way, Way]:
        """Directly, and through the edge."""
        return Way(self.service.origin, self.service.secret), Way(self.edge.base(resource), self.edge.key)


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    """One service as two resources: as it is, and looked through by detectors."""
    with running_http() as service:
        resources = {"plain": Behind(service), "masked": Behind(service, {"data": "pii"})}
        with guarded_http(tmp_path_factory.mktemp("drivers"), POLICY, resources) as edge:
            yield Ways(service, edge)


def with_curl(way: Way) -> list[Any]:
    """curl: GET, HEAD, POST, form, multipart, upload with Expect, redirect, compressed, ranges, cookies, several URLs on one connection."""

    def curl(*arguments: str, data: bytes = b"") -> str:
        command = ["curl", "-sS", "-m", str(LIMIT), "-H", f"Authorization: Bearer {way.key}", *arguments]
        done = subprocess.run(command, input=data, capture_output=True, timeout=2 * LIMIT, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    code = ("-o", "/dev/null", "-w", "%{http_code} %{size_download}\n")
    return [
        curl(f"{way.base}/customers"),
        curl("-I", "-o", "/dev/null", "-w", "%{http_code} %{content_type}", f"{way.base}/text/length"),
        curl("--json", '{"a": 1}', f"{way.base}/echo"),
        curl("--data-urlencode", "name=Ünal & Söhne", "-d", "b=2", f"{way.base}/echo"),
        json.loads(curl("-F", "file=@-;filename=a.txt", "-F", "x=1", f"{way.base}/mirror", data=LARGE))["bytes"]
        > len(LARGE),
        curl("-H", "Expect: 100-continue", "-T", "-", f"{way.base}/files/curl", data=LARGE),
        curl("-H", "Transfer-Encoding: chunked", "-T", "-", f"{way.base}/files/curl", data=LARGE),
        curl("-L", "-w", " %{num_redirects}", f"{way.base}/redirect/302?to=absolute"),
        curl("-L", "-X", "POST", "-d", "x", "-w", " %{num_redirects}", f"{way.base}/redirect/307?to=/orders/7"),
        curl("--compressed", f"{way.base}/encoded/gzip"),
        curl("-c", "-", "-b", "x=1", "-o", "/dev/null", "-w", "%{http_code}", f"{way.base}/status/404"),
        curl(*code, f"{way.base}/counter", *code, f"{way.base}/bytes/100000", *code, f"{way.base}/bytes/5?chunked=1"),
        curl("-0", f"{way.base}/text/chunked"),
        curl("-N", f"{way.base}/events"),
    ]


def with_httpx(way: Way) -> list[Any]:
    """A pool, JSON, forms, files, streams both ways, cookies that come back, redirects, codings."""
    told: list[Any] = []
    with httpx.Client(headers=way.bearer, timeout=LIMIT, follow_redirects=True) as client:
        told += [client.get(f"{way.base}/customers").json(), client.get(f"{way.base}/orders/8").json()]
        told += [
            client.post(f"{way.base}/echo", json={"ü": [1, None]}).json(),
            client.post(f"{way.base}/echo", data=FORM).text,
        ]
        told.append(client.post(f"{way.base}/mirror", files={"f": ("a.bin", LARGE)}).json()["bytes"] > len(LARGE))
        told.append(
            client.put(f"{way.base}/files/x", content=(LARGE[at : at + 999] for at in range(0, len(LARGE), 999))).json()
        )
        told += [client.get(f"{way.base}/encoded/{coding}").json() for coding in (*CODINGS, "br", "zstd")]
        told += [client.get(f"{way.base}/cookies").json() for _ in range(2)]
        told.append(client.get(f"{way.base}/redirect/301?to=/orders/9").json())
        with client.stream("GET", f"{way.base}/export") as stream:
            told.append([json.loads(line) for line in stream.iter_lines()])
        told += [client.head(f"{way.base}/files/a").status_code, client.get(f"{way.base}/status/204").content]
        told.append(client.get(f"{way.base}/raw/trailers").text)
    return told


def with_requests(way: Way) -> list[Any]:
    """A session, JSON, forms, files, cookies, redirects of each kind, chunks, streams."""
    told: list[Any] = []
    with requests.Session() as session:
        session.headers.update(way.bearer)

        def ask(method: str, path: str, **more: Any) -> requests.Response:
            return session.request(method, f"{way.base}{path}", timeout=LIMIT, **more)

        told += [
            ask("GET", "/customers").json(),
            ask("POST", "/echo", json={"a": 1}).json(),
            ask("POST", "/echo", data=FORM).text,
        ]
        told.append(ask("POST", "/mirror", files={"f": io.BytesIO(LARGE)}).json()["bytes"] > len(LARGE))
        told.append(ask("PUT", "/files/x", data=(LARGE[at : at + 9999] for at in range(0, len(LARGE), 9999))).json())
        told += [ask("GET", "/cookies").json() for _ in range(2)]
        told += [ask("GET", f"/redirect/{code}").json() for code in (301, 302, 303, 307, 308)]
        told += [ask("GET", f"/encoded/{coding}").json() for coding in CODINGS]
        told.append(sum(len(piece) for piece in ask("GET", "/bytes/1000000?chunked=1", stream=True).iter_content(7777)))
        told += [
            ask("DELETE", "/mirror").json()["method"],
            ask("OPTIONS", "/mirror").status_code,
            ask("GET", "/nowhere").status_code,
        ]
    return told


def with_urllib3(way: Way) -> list[Any]:
    """A pool of its own, preloaded or not, chunked bodies, retries of redirects."""
    pool = urllib3.PoolManager(headers=way.bearer, timeout=LIMIT, retries=urllib3.Retry(3, redirect=3))
    told: list[Any] = [pool.request("GET", f"{way.base}/orders").json()]
    told.append(pool.request("POST", f"{way.base}/echo", json={"a": "b"}).data)
    told.append(pool.request("PUT", f"{way.base}/files/x", body=io.BytesIO(LARGE), chunked=True).json())
    told.append(pool.request("GET", f"{way.base}/redirect/302?to=absolute").json())
    answer = pool.request("GET", f"{way.base}/text/chunked", preload_content=False)
    told.append(b"".join(answer.stream(512)))
    pool.clear()
    return told


def with_aiohttp(way: Way) -> list[Any]:
    """Many at once, streams, a WebSocket, cookies, forms."""
    return asyncio.run(_aiohttp(way))


async def _aiohttp(way: Way) -> list[Any]:
    told: list[Any] = []
    timeout = aiohttp.ClientTimeout(total=LIMIT)
    async with aiohttp.ClientSession(
        headers=way.bearer, timeout=timeout, cookie_jar=aiohttp.CookieJar(unsafe=True)
    ) as client:

        async def text(path: str) -> str:
            async with client.get(f"{way.base}{path}") as answer:
                return await answer.text()

        told += await asyncio.gather(*(text(f"/orders/{7 + number % 3}") for number in range(30)))
        async with client.post(f"{way.base}/echo", data=FORM) as answer:
            told.append(await answer.text())
        form = aiohttp.FormData({"a": "1"})
        form.add_field("f", LARGE, filename="f.bin")
        async with client.post(f"{way.base}/mirror", data=form) as answer:
            told.append((await answer.json())["bytes"] > len(LARGE))
        told += [await text("/cookies"), await text("/cookies"), await text("/redirect/302"), await text("/encoded/br")]
        async with client.get(f"{way.base}/events") as answer:
            told.append([line async for line in answer.content])
        async with client.ws_connect(f"{way.base}/ws") as ws:
            await ws.send_json({"hello": "there"})
            told.append(await ws.receive_json(timeout=LIMIT))
    return told


def with_http_client(way: Way) -> list[Any]:
    """The standard library: one connection, kept alive."""
    parts = urlsplit(way.base)
    told: list[Any] = []
    with contextlib.closing(http.client.HTTPConnection(parts.netloc, timeout=LIMIT)) as connection:

        def ask(method: str, path: str, body: Any = None, **more: Any) -> tuple[int, bytes]:
            connection.request(method, parts.path + path, body, way.bearer, **more)
            answer = connection.getresponse()
            return answer.status, answer.read()

        told += [ask("GET", "/customers"), ask("HEAD", "/text/length"), ask("POST", "/echo", b"x" * 70_000)]
        told.append(ask("PUT", "/files/x", iter([b"a", b"b" * 9000]), encode_chunked=True))
        told += [
            ask("GET", "/status/304"),
            ask("GET", "/status/204"),
            ask("GET", "/text/close"),
            ask("GET", "/counter"),
        ]
    return told


CLIENTS: dict[str, Callable[[Way], list[Any]]] = {
    "curl": with_curl,
    "httpx": with_httpx,
    "requests": with_requests,
    "urllib3": with_urllib3,
    "aiohttp": with_aiohttp,
    "http.client": with_http_client,
}


@pytest.mark.parametrize("resource", ["plain", "masked"])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_sees_the_same(ways: Ways, client: str, resource: str) -> None:
    """Everything it is told, step by step."""
    direct, edge = ways.pair(resource)
    expected, seen = CLIENTS[client](direct), CLIENTS[client](edge)
    differences = [(one, other) for one, other in zip(expected, seen, strict=True) if one != other]
    assert not differences, "\n".join(
        f"{one!r:.300}\n  but through the edge\n{other!r:.300}" for one, other in differences
    )


def test_a_key_as_a_client_library_sends_it(ways: Ways) -> None:
    """Basic authentication with the agent's name, and none at all."""
    _, edge = ways.pair("plain")
    assert httpx.get(f"{edge.base}/counter", auth=("probe-bot", edge.key)).status_code == 200
    refused = httpx.get(f"{edge.base}/counter")
    assert (refused.status_code, refused.headers["www-authenticate"][:6]) == (401, "Bearer")


def test_the_cookies_of_the_service_stay_with_the_edge(ways: Ways) -> None:
    """What the client's jar holds opens nothing at the service, and the service gets its own value back."""
    _, edge = ways.pair("plain")
    with httpx.Client(headers=edge.bearer) as client:
        client.get(f"{edge.base}/cookies")
        jar = {cookie.name: cookie.value or "" for cookie in client.cookies.jar}
        assert jar["sid"]
        assert "s-" + "7" * 20 not in jar.values()
        assert client.get(f"{edge.base}/cookies").json()["came"] == {"sid": "s-" + "7" * 20}
