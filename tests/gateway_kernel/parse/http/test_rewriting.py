"""Rewrites of requests: carried out exactly, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_kernel.errors import UnrewritableError
from gateway_kernel.model import Operation
from gateway_kernel.parse.http.reader import READER
from gateway_kernel.parse.http.rewriting import problem
from gateway_kernel.verdict import Rewrite

from .requests import declared, family, routed


def rewritten(text: str, parts: dict[str, str | None]) -> Operation:
    """The request with these parts rewritten, read."""
    return READER.rewrite(declared(text), Rewrite(parts=parts))


@pytest.mark.parametrize(
    ("target", "parts", "result"),
    [
        ("/a?x=1", {"path": "/b/../c"}, "/c?x=1"),
        ("/a", {"query.limit": "10"}, "/a?limit=10"),
        ("/a?limit=500&x=1", {"query.limit": "10"}, "/a?limit=10&x=1"),
        ("/a?x=1&Limit=500&%6cimit=9", {"query.limit": "10"}, "/a?x=1&limit=10"),
        ("/a?x=1&limit=500", {"query.limit": None}, "/a?x=1"),
        ("/a?limit=500", {"query.limit": None}, "/a"),
        ("/a?", {"query.limit": None}, "/a?"),
        ("/a", {"query.a b&c": "d=e f"}, "/a?a+b%26c=d%3De+f"),
        ("/a", {"query.filter.x": "1"}, "/a?filter.x=1"),
    ],
)
def test_path_and_query_are_rewritten(target: str, parts: dict[str, str | None], result: str):
    """One value in place of all that a server could see under that name."""
    assert rewritten(f"GET {target}", parts).text == f"GET {result}\nHost: upstream.example\n"


def test_headers_are_rewritten():
    """One in place of all of that name, however it is written; or none."""
    text = "GET /\nX-Role: a\nAccept: b\nx_role: c"
    assert rewritten(text, {"header.x-role": "user"}).text == "GET /\nHost: upstream.example\nX-Role: user\nAccept: b\n"
    assert rewritten(text, {"header.X-Role": None}).text == "GET /\nHost: upstream.example\nAccept: b\n"
    assert rewritten(text, {"header.X-New": "1"}).text.endswith("x_role: c\nX-New: 1\n")


@pytest.mark.parametrize(
    ("body", "parts", "result"),
    [
        ('{"a": 1}', {"body.a": "2"}, b'{"a":2}'),
        ('{"a": 1}', {"body.b.c": '"x"'}, b'{"a":1,"b":{"c":"x"}}'),
        ('{"a": {"b": 1, "c": 2}}', {"body.a.b": None}, b'{"a":{"c":2}}'),
        ('{"A": 1}', {"body.a": "2"}, b'{"a":2}'),
        ('{"a": 1.50, "b": 12345678901234567890}', {"body.a": "[null]"}, b'{"a":[null],"b":12345678901234567890}'),
    ],
)
def test_members_are_rewritten(body: str, parts: dict[str, str | None], result: bytes):
    """And the length that the context asserts with them."""
    operation = rewritten(f"POST /\n\n{body}", parts)
    assert operation.parameters[0].value == result
    assert operation.context["length"] == len(result)
    assert operation.facts.complete
    assert operation.size == len(operation.text) + len(result)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("GET /?x=1", {"query.x": "1"}),
        ("GET /", {"query.x": None, "header.x": None, "body.x": None}),
        ('POST /\n\n{"a": 1}', {"body.b.c": None}),
        ('POST /\n\n{ "a": 1 }', {"body.a": "1"}),
    ],
)
def test_a_rewrite_that_changes_nothing_leaves_the_request_alone(text: str, parts: dict[str, str | None]):
    """The same object, white space included."""
    operation = declared(text)
    assert READER.rewrite(operation, Rewrite(parts=parts)) is operation


@pytest.mark.parametrize(
    ("text", "rewrite"),
    [
        ("GET /", Rewrite(limit=1)),
        ("GET /", Rewrite(read_only=True)),
        ("GET /", Rewrite(replace="GET /b")),
        ("GET /", Rewrite(parts={"body.a": "1"})),
        ("POST /\n\nx", Rewrite(parts={"body.a": "1"})),
        ("POST /\n\n[1]", Rewrite(parts={"body.a": "1"})),
        ('POST /\n\n{"a": 1, "a": 2}', Rewrite(parts={"body.a": "1"})),
        ('POST /\n\n{"a": 1}', Rewrite(parts={"body.a.b": "1"})),
        ("POST /\nContent-Encoding: gzip\n\n{}", Rewrite(parts={"body.a": "1"})),
        ("POST /\nContent-Type: application/x-www-form-urlencoded\n\na=1", Rewrite(parts={"body.a": "1"})),
        ("GET /?a=1;b=2", Rewrite(parts={"query.a": "1"})),
        ("MESSAGE /\n\n{}", Rewrite(parts={"path": "/b"})),
        ("GET /", Rewrite(parts={"header.Host": "x"})),
    ],
)
def test_what_cannot_be_carried_out_is_an_error(text: str, rewrite: Rewrite):
    """Then the operation is refused."""
    with pytest.raises(UnrewritableError):
        READER.rewrite(declared(text), rewrite)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("path", None),
        ("path", "a"),
        ("path", "/a?b=1"),
        ("path", "/a%2fb"),
        ("header.Host", "x"),
        ("header.cookie", None),
        ("header.Authorization", "x"),
        ("header.X-Forwarded-For", "x"),
        ("header.a b", "x"),
        ("header.X", "a\nb"),
        ("header.X", " a"),
        ("body.a", "x"),
        ("body.a", '{"a":1,"a":2}'),
        ("body.a..b", "1"),
    ],
)
def test_a_part_that_no_request_can_have_is_named(name: str, value: str | None):
    """When the policy loads, not when the request is there."""
    assert problem(name, value)


def test_a_new_path_has_no_route():
    """What the table said was of the path that it was."""
    before = routed("POST /search", ("read", "index"), id="search")
    after = READER.rewrite(before, Rewrite(parts={"path": "/orders"}))
    assert (after.facts.verb, "route" in after.context) == ("POST", False)


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=6), st.text(st.characters(codec="utf-8"), max_size=6))
def test_a_query_says_what_was_set(name: str, value: str):
    """Whatever stands in it, nothing else is added."""
    facts = family(rewritten("GET /?q=1", {f"query.{name}": value}))
    if not facts.unreadable:  # a control character in a name
        kept = {} if name.casefold() == "q" else {"q": "1"}
        assert facts.query == kept | {name: value}
