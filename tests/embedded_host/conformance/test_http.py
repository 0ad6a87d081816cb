"""What an HTTP function may count on: routes, keys, bodies, cookies, errors."""

import pytest

from tests.embedded_host.support import Site, until


@pytest.mark.parametrize(
    ("path", "without", "with_key"),
    [("/api/open/Ann", 200, 200), ("/api/admin-only", 401, 200), ("/api/start/hello", 404, 404)],
)
async def test_levels(site: Site, path: str, without: int, with_key: int) -> None:
    """Anonymous needs no key; admin needs the master key; an unknown route is 404 with or without."""
    assert (await site.ask("GET", path, key=""))[0] == without
    assert (await site.ask("GET", path))[0] == with_key


async def test_a_function_key_is_asked_for(site: Site) -> None:
    """In the header or in the query, and a wrong one is no key."""
    assert (await site.ask("POST", "/api/echo", key="", body=1))[0] == 401
    assert (await site.ask("POST", "/api/echo", key="wrong", body=1))[0] == 401
    assert (await site.ask("POST", "/api/echo", key="", body=1, code=site.key))[0] == 201


async def test_a_body_arrives_whole_and_comes_back(site: Site) -> None:
    """Bytes that are no text, one mebibyte of them."""
    body = bytes(range(256)) * 4096
    headers = {"x-functions-key": site.key}
    async with site.session.post(f"{site.url}/api/echo", data=body, headers=headers) as response:
        assert (response.status, response.headers["X-Length"]) == (201, str(len(body)))
        assert await response.read() == body


async def test_an_empty_body_is_empty(site: Site) -> None:
    """Not None, not "null"."""
    async with site.session.post(f"{site.url}/api/echo", headers={"x-functions-key": site.key}) as response:
        assert (response.headers["X-Length"], await response.read()) == ("0", b"")


async def test_route_and_query_parameters_are_decoded(site: Site) -> None:
    """Percent-encoding is undone once."""
    _, told, _ = await site.ask("GET", "/api/open/A%20B%2526", key="", q="x y&z")
    assert (told["name"], told["query"]["q"]) == ("A B%26", "x y&z")


async def test_the_platforms_headers_cannot_be_forged(site: Site) -> None:
    """X-MS-CLIENT-PRINCIPAL is the platform's word for who signed in."""
    headers = {"X-MS-CLIENT-PRINCIPAL": "Zm9yZ2Vk", "X-Mine": "kept"}
    async with site.session.get(f"{site.url}/api/open/Ann", headers=headers) as response:
        told = {name.lower(): value for name, value in (await response.json())["headers"].items()}
    assert told["x-mine"] == "kept"
    assert "x-ms-client-principal" not in told


async def test_a_wrong_method_is_not_found(site: Site) -> None:
    """Azure's host answers 404, not 405."""
    assert (await site.ask("DELETE", "/api/echo"))[0] == 404


async def test_route_constraints_and_catch_all(site: Site) -> None:
    """`{n:int}` takes numbers alone; `{*path}` takes slashes."""
    assert (await site.ask("GET", "/api/number/42", key=""))[:2] == (200, 42)
    assert (await site.ask("GET", "/api/number/four", key=""))[0] == 404
    assert (await site.ask("GET", "/api/files/a/b/c.txt", key=""))[:2] == (200, "a/b/c.txt")


async def test_every_cookie_is_set(site: Site) -> None:
    """Two Set-Cookie headers, each with its attributes."""
    async with site.session.get(f"{site.url}/api/cookies") as response:
        cookies = sorted(cookie.lower().replace(" ", "") for cookie in response.headers.getall("Set-Cookie"))
    assert cookies[0].startswith("a=1;")
    assert {"path=/", "httponly", "samesite=strict"} <= set(cookies[0].split(";"))
    assert cookies[1].startswith("b=2;")
    assert {"secure", "max-age=60"} <= set(cookies[1].split(";"))


async def test_a_function_that_raises_says_nothing_of_why(site: Site) -> None:
    """500, and no word of the exception."""
    status, told, _ = await site.ask("GET", "/api/broken", key="")
    assert status == 500
    assert "canary" not in str(told)


async def test_sync_functions_run_too(site: Site) -> None:
    """On the worker's threads."""
    assert (await site.ask("GET", "/api/sync", key=""))[:2] == (200, "sync")


async def test_a_timer_function_is_started_by_hand(site: Site) -> None:
    """By the admin API, with the master key; its durable client works."""
    before = await site.entity("Counter", "yearly") or 0
    assert (await site.ask("POST", "/admin/functions/yearly", key="", body={}))[0] == 401
    assert (await site.ask("POST", "/admin/functions/yearly", body={}))[0] == 202
    await until(lambda: site.entity("Counter", "yearly"), lambda value: value == before + 1)
    assert (await site.ask("POST", "/admin/functions/no_such_function", body={}))[0] == 404
