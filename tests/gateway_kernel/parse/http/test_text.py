"""The text of an operation: written and read in one form only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_kernel.parse.http.target import encoded
from gateway_kernel.parse.http.text import Head, HeadError, compose, read


def test_a_head_is_read_as_it_was_written():
    """Names keep case and order, the path is decoded, the query is not."""
    text = compose(
        "GET", "/orders/a%20b/?x=%20", [("Host", "api:8080"), ("accept", "*/*"), ("X-Empty", ""), ("Accept", "a, b")]
    )

    assert text == "GET /orders/a%20b/?x=%20\nHost: api:8080\naccept: */*\nX-Empty: \nAccept: a, b\n"
    assert read(text) == Head(
        "GET",
        "/orders/a%20b/?x=%20",
        "/orders/a b/",
        ("orders", "a b"),
        "x=%20",
        (("Host", "api:8080"), ("accept", "*/*"), ("X-Empty", ""), ("Accept", "a, b")),
    )
    assert read(text).host == "api:8080"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GET /\n",
        "GET /\nAccept: x\n",
        "GET /\nHost: a",
        "GET /\nHost: a\n\n",
        "GET /\nHost: a\nhost: b\n",
        "GET /\nHost: a\nX:b\n",
        "GET /\nHost: a\nX : b\n",
        "GET /\nHost: a\nX:  b\n",
        "GET /\nHost: a\nX: b \n",
        "GET /\nHost: a\n b\n",
        "GET /\nHost: a\nX: b\rc\n",
        "GET /\nHost: a\nX: b\x00c\n",
        "GET /\r\nHost: a\r\n",
        "GET  /\nHost: a\n",
        "GET / HTTP/1.1\nHost: a\n",
        "G(T /\nHost: a\n",
        "GET /a//b\nHost: a\n",
        "GET /%61\nHost: a\n",
        "GET /a%2fb\nHost: a\n",
        "GET a\nHost: a\n",
        "GET /\nHost: a\nX: \u0100\n",
    ],
)
def test_nothing_else_is_a_head(text: str):
    """What could be taken in another way is not taken at all."""
    with pytest.raises(HeadError):
        read(text)


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET", "/", [("Host", "a\nX: b")]),
        ("GET", "/", [("Host", "a"), ("X\nY", "b")]),
        ("GET /x\nHost: a\nX-Y:", "/", [("Host", "a")]),
        ("GET", "/", []),
        ("GET", "/", [("Accept", "x"), ("Host", "a")]),
        ("GET", "/ /", [("Host", "a")]),
    ],
)
def test_no_part_can_smuggle_another(method: str, target: str, headers: list[tuple[str, str]]):
    """A line feed in any part is an error, not a line."""
    with pytest.raises(HeadError):
        compose(method, target, headers)


_NAME = st.text("abcXYZ09-_!#", min_size=1, max_size=8).filter(lambda name: name.lower() != "host")
_VALUE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_categories=["Cc"]), max_size=12).map(
    lambda value: value.strip(" ")
)


@given(
    st.sampled_from(["GET", "POST", "PROPFIND", "M-SEARCH"]),
    st.lists(st.text("aZ09 ~\u00e9", min_size=1), max_size=3),
    st.sampled_from(["", "?", "?a=1&b=%20"]),
    st.lists(st.tuples(_NAME, _VALUE), max_size=4),
)
def test_writing_and_reading_are_each_others_inverse(
    method: str, segments: list[str], query: str, headers: list[tuple[str, str]]
):
    """Nothing is lost and nothing is added."""
    target = encoded(segments) + query
    head = read(compose(method, target, [("Host", "api"), *headers]))

    assert (head.method, head.target, head.segments) == (method, target, tuple(segments))
    assert head.headers == (("Host", "api"), *headers)
    assert compose(head.method, head.target, head.headers) == compose(method, target, [("Host", "api"), *headers])
