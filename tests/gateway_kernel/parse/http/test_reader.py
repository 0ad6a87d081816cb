"""What the reader makes of a request, and that it gives the same facts for the same request."""

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_kernel.model import UNREAD, Json, Operation, Parameter
from gateway_kernel.parse.http import reader as room
from gateway_kernel.parse.http.body import INSPECTED
from gateway_kernel.parse.http.reader import READER, HttpReader

from .requests import declared, effects, family, routed

HEAD = "GET /a?x=1\nHost: api\n"


def test_a_head_gives_the_facts_that_rules_know():
    """Method, path, segments, query, headers and host, each decoded once."""
    facts = family(
        declared("GET /orders/%C3%A9%20b/?x=1%202&y=a+b&z\nHost: api:8080\nX-Role: user\nAccept: a\nAccept: b")
    )

    assert (facts.method, facts.path, facts.segments) == ("GET", "/orders/\u00e9 b/", ("orders", "\u00e9 b"))
    assert facts.query == {"x": "1 2", "y": "a b", "z": ""}
    assert facts.headers == {"host": "api:8080", "x-role": "user", "accept": "a, b"}
    assert (facts.host, facts.unreadable) == ("api:8080", {})


def test_a_header_with_an_underscore_stands_under_both_names():
    """A rule about `x-role` sees what a WSGI server would take for it."""
    assert family(declared("GET /\nX_Role: admin")).headers == {
        "host": "upstream.example",
        "x_role": "admin",
        "x-role": "admin",
    }


def test_cookies_are_joined_as_http_joins_them():
    """RFC 9113 8.2.3."""
    facts = family(declared("GET /\nCookie: a=1\nCookie: b=2"))
    assert (facts.headers["cookie"], facts.unreadable) == ("a=1; b=2", {})


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("GET /?a=1&a=2", "query"),
        ("GET /?a=1&A=2", "query"),
        ("GET /?a=1;b=2", "query"),
        ("GET /?a=%ff", "query"),
        ("GET /?a%00=1", "query"),
        ("GET /\nX-Role: a\nX-Role: b", "headers"),
        ("GET /\nX-Role: a\nX_Role: b", "headers"),
    ],
)
def test_what_two_servers_could_read_differently_is_no_fact(text: str, field: str):
    """It is said which field and why; the rest of the request can be judged."""
    operation = declared(text)
    assert list(family(operation).unreadable) == [field]
    assert operation.facts.complete


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("GET /a", [("read", "/a", "")]),
        ("HEAD /a", [("read", "/a", "")]),
        ("OPTIONS /a", [("read", "/a", "")]),
        ("POST /a", [("write", "/a", "")]),
        ("PUT /a", [("write", "/a", "")]),
        ("PATCH /a", [("write", "/a", "")]),
        ("DELETE /a", [("delete", "/a", "")]),
        ("MESSAGE /a\n\nhello", [("write", "/a", "")]),
        ("PURGE /a", [("unknown", "", "")]),
        ("get /a", [("unknown", "", "")]),
        (
            "POST /a\nX-HTTP-Method: PUT, DELETE",
            [("write", "/a", ""), ("write", "/a", "x-http-method"), ("delete", "/a", "x-http-method")],
        ),
        ("GET /a\nX-HTTP-Method: ", [("read", "/a", "")]),
        ("GET /a\nX-HTTP-Method: MESSAGE", [("read", "/a", ""), ("unknown", "", "")]),
        ("POST /$batch", [("write", "/$batch", ""), ("unknown", "", "")]),
    ],
)
def test_effects_are_those_of_the_method_and_what_overrides_it(text: str, said: list[tuple[str, str, str]]):
    """They are added up; what is not known is unknown, and then there is a reason."""
    operation = declared(text)
    assert effects(operation) == said
    assert operation.facts.complete == (("unknown", "", "") not in said)
    assert bool(operation.facts.problem) != operation.facts.complete


def test_a_route_says_what_a_request_does():
    """Its effects replace those of the method, its id is the verb; an override still counts."""
    operation = routed("POST /search?_method=DELETE", ("read", "index"), id="search")
    assert operation.facts.verb == "search"
    assert effects(operation) == [("read", "index", ""), ("delete", "/search", "query")]
    assert effects(routed("PURGE /cache", ("delete", "cache"))) == [("delete", "cache", "")]
    assert effects(routed("GET /a", id="only-a-name")) == [("read", "/a", "")]
    assert not routed("GET /a", ("reed", "a")).facts.complete
    assert not routed("GET /a", speaks="soap").facts.complete


def test_the_same_request_has_the_same_facts():
    """The same object, so that rules are not asked again; other bodies of one head have them too."""
    first = declared("GET /a?x=1\nAccept: b")
    again = msgspec.structs.replace(first, facts=UNREAD, context=dict(first.context))
    assert READER.read(again).facts is first.facts
    one, other = declared('POST /a\n\n{"x": 1}'), declared('POST /a\n\n{"x": 2}')
    assert one.facts is other.facts
    assert declared('POST /a\n\n{"_method": "DELETE"}').facts is not one.facts
    assert routed("GET /a?x=1\nAccept: b", ("delete", "a")).facts is not first.facts


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch):
    """However many requests come, and however long they are."""
    monkeypatch.setattr(room, "REMEMBERED", 4)
    monkeypatch.setattr(room, "LONGEST_REMEMBERED", 100)
    reader = HttpReader()
    for number in range(20):
        for text in (f"GET /{number}\nHost: a\n", f"GET /{number}/{'x' * 200}\nHost: a\n"):
            assert reader.read(Operation("o", "http", text)).facts.complete
    assert len(vars(reader)["_known"]) == len(vars(reader)["_same"]) == 4


@pytest.mark.parametrize(
    ("parameters", "context", "digest"),
    [
        ((), {"body": "whole", "length": 1}, ""),
        ((Parameter("", b"x"),), {"body": "none"}, ""),
        ((Parameter("", b"x"),), {"body": "whole", "length": 2}, ""),
        ((Parameter("", None),), {"body": "whole", "length": 0}, ""),
        ((Parameter("", b"x"), Parameter("", b"y")), {"body": "whole", "length": 1}, ""),
        ((Parameter("", b"x"),), {"body": "whole", "length": 1}, "ab"),
        ((), {"body": "digest"}, ""),
        ((), {"body": "none"}, "ab"),
        ((), {"body": "other"}, ""),
        ((), {"body": 1}, ""),
        ((), {"route": {"effects": [["read"]]}}, ""),
        ((), {"route": 1}, ""),
        ((), {"rout": {}}, ""),
    ],
)
def test_a_context_that_does_not_fit_is_unknown(
    parameters: tuple[Parameter, ...], context: dict[str, Json], digest: str
):
    """What the edge asserts and what it sends must agree."""
    facts = READER.read(Operation("o", "http", HEAD, parameters, context, digest)).facts
    assert not facts.complete
    assert "context" in facts.problem


@pytest.mark.parametrize(
    "text", ["", "GET", "GET /%2f\nHost: a\n", "GET /%61\nHost: a\n", "GET /\n", "\ud800", "GET /\u0100\nHost: a\n"]
)
def test_a_head_that_is_not_in_its_form_is_unknown(text: str):
    """It is never an exception, and it says why."""
    facts = READER.read(Operation("o", "http", text)).facts
    assert not facts.complete
    assert facts.problem


@given(
    st.text(max_size=60),
    st.binary(max_size=60),
    st.dictionaries(st.text(max_size=8), st.none() | st.integers() | st.text(max_size=4)),
)
def test_anything_is_read(text: str, content: bytes, context: dict[str, Json]):
    """The reader is total: facts come of everything, with an effect in them."""
    for made in (
        Operation("o", "http", text, (Parameter("", content),), context),
        Operation("o", "http", text, (), context),
    ):
        assert READER.read(made).facts.effects
    whole: dict[str, Json] = {"body": "whole", "length": len(content)}
    posted = Operation(
        "o", "http", "POST /a\nHost: a\nContent-Type: application/json\n", (Parameter("", content),), whole
    )
    assert READER.read(posted).facts.effects


def test_a_person_writes_what_the_edge_would_make():
    """Headers that are no part of an operation go, the target is normalised, Host is first, the body is a parameter."""
    made = declared(
        'POST //a/%2e/b?x=1 HTTP/1.1\r\nAccept: */*\r\nHost: api\r\nAuthorization: Bearer x\r\nContent-Length: 9\r\n\r\n{"a": 1}'
    )
    assert made.text == "POST /a/b?x=1\nHost: api\nAccept: */*\n"
    assert made.parameters == (Parameter("", b'{"a": 1}'),)
    assert made.context == {"scheme": "https", "body": "whole", "length": 8}
    assert declared("GET http://api/a?x").text == declared("GET /a?x\nHost: api").text
    assert declared("GET http://api\nHost: other").text == "GET /\nHost: api\n"
    assert declared("GET /\nnonsense").facts.problem == "'nonsense' is no header; write `Name: value`."


def test_a_large_body_is_a_digest():
    """As at the edge; a case may also say that a body is streamed."""
    content = "x" * (INSPECTED + 1)
    large = declared(f"PUT /a\n\n{content}")
    assert (large.parameters, large.context["body"], large.context["length"]) == ((), "digest", len(content))
    assert large.body_digest == hashlib.sha256(content.encode()).hexdigest()
    streamed = declared("PUT /a\n\nx", body="streamed")
    assert (streamed.parameters, streamed.body_digest, streamed.facts.complete) == ((), "", True)


def test_a_form_that_nobody_reads_may_hide_another_method():
    """Forms are small; one that is not is refused."""
    assert declared("PUT /a\nContent-Type: application/octet-stream\n\nx", body="digest").facts.complete
    assert not declared("PUT /a\nContent-Type: application/x-www-form-urlencoded\n\nx", body="digest").facts.complete


def test_a_body_is_shown_as_text_where_it_is():
    """For the review page."""
    assert READER.parameter_text(Parameter("", b"caf\xc3\xa9")) == "caf\u00e9"
    assert READER.parameter_text(Parameter("", None)) == ""
    assert READER.parameter_text(Parameter("", b"\xff")) is None
