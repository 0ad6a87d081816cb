"""Bodies as facts: what is JSON, what is a form, and what is neither."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_kernel.errors import UnreadableFactError
from gateway_kernel.model import Json
from gateway_kernel.parse.http import pairs, strict_json
from gateway_kernel.parse.http.body import MediaType, media_type, read
from gateway_kernel.parse.http.reader import READER

from .requests import declared

FORM = MediaType("application/x-www-form-urlencoded")


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"", None),
        (b"null", None),
        (b'{"a": [1, 2.5, "x", true, null]}', {"a": [1, 2.5, "x", True, None]}),
        (b" [1]\n", [1]),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'{"a": 9007199254740993}', {"a": 9007199254740993}),
        (b'{"a": {"b": 1}, "b": {"a": 1}}', {"a": {"b": 1}, "b": {"a": 1}}),
    ],
)
def test_json_is_read_whatever_its_type_says(content: bytes, value: Json):
    """A server may do the same."""
    for media in (MediaType(), MediaType("application/json"), MediaType("image/png")):
        assert (read(content, media).value, read(content, media).why) == (value, "")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"a": 1, "a": 2}', "more than once"),
        (b'{"a": 1, "A": 2}', "more than once"),
        (b'{"k": 1, "\xe2\x84\xaa": 2}', "more than once"),
        (b'{"x": {"a": 1, "a": 2}}', "more than once"),
        (b"[" * 65 + b"]" * 65, "levels deep"),
        (b"[" * 100_000, "levels deep"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "levels deep"),
        (b"1e400", "larger than a double"),
        (b"-1e400", "larger than a double"),
        (b"1" * 400, "larger than a double"),
        (b"1" * 5000, "larger than a double"),
        (b"[NaN]", "NaN"),
        (b"-Infinity", "Infinity"),
        (b'"\\ud800"', "surrogate"),
        (b'{"\\udfff": 1}', "surrogate"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"\xff\xfe{\x00}\x00", "byte order mark"),
        (b'"\xff"', "not UTF-8"),
        (b"{\x00}\x00", "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b"{} {}", "not JSON"),
        (b'{"a": 1,}', "not JSON"),
        (b"a=1", "not JSON"),
        (b'"\n"', "not JSON"),
    ],
)
def test_what_servers_read_differently_is_not_read(content: bytes, why: str):
    """The reason says what it is."""
    found = read(content, MediaType("application/json"))
    assert found.value is None
    assert why in found.why


def test_sixty_four_levels_are_read():
    """The limit itself is within it."""
    assert read(b"[" * 64 + b"]" * 64, MediaType()).why == ""


@pytest.mark.parametrize(
    ("headers", "media"),
    [
        ((), MediaType()),
        ((("Content-Type", 'Application/JSON; Charset="UTF-8"'),), MediaType("application/json", "utf-8")),
        ((("content-encoding", "identity, GZip"),), MediaType(encoded="gzip")),
        ((("Content-Encoding", "identity"),), MediaType()),
        ((("Content_Type", "text/plain"),), MediaType("text/plain")),
    ],
)
def test_headers_say_what_a_body_is(headers: tuple[tuple[str, str], ...], media: MediaType):
    """Type, charset and coding, without case."""
    assert media_type(headers) == media


@pytest.mark.parametrize(
    "headers",
    [
        (("Content-Type", "a/b"), ("Content-Type", "a/b")),
        (("Content-Type", "a/b; charset=utf-8; charset=utf-8"),),
        (("Content-Type", "json"),),
        (("Content-Type", "a/b, c/d"),),
        (("Content-Type", "a/b; charset=utf-16"),),
        (("Content-Encoding", "gzip"),),
        (("Content-Encoding", "x"),),
    ],
)
def test_headers_that_leave_a_doubt_make_a_body_unreadable(headers: tuple[tuple[str, str], ...]):
    """Two types, two charsets, another charset, a coding."""
    assert read(b"{}", media_type(headers)).why


def test_ascii_is_ascii_in_latin_1():
    """A charset of which the body uses nothing does no harm."""
    assert read(b"{}", MediaType("a/b", "iso-8859-1")).why == ""
    assert read(b'"\xc3\xa9"', MediaType("a/b", "iso-8859-1")).why


@pytest.mark.parametrize(
    ("content", "value", "why"),
    [
        (b"a=1&b=x+y%21", {"a": "1", "b": "x y!"}, ""),
        (b"a=1&&b", {"a": "1", "b": ""}, ""),
        (b"a=1\r\n", {"a": "1"}, ""),
        (b"a=1&a=2", None, "more than once"),
        (b"a=1;b=2", None, "';'"),
        (b"a=%ff", None, "UTF-8"),
        (b"a=%", None, "hexadecimal"),
        (b"a=1\nb=2", None, "no URL-encoded form"),
        (b'{"a":1}', {"a": 1}, ""),
        (b'{"a":"&b=1"}', None, "form and as JSON"),
    ],
)
def test_a_form_gives_names_and_values(content: bytes, value: Json, why: str):
    """Read as strictly as a query."""
    found = read(content, FORM)
    assert found.value == value
    assert why in found.why if why else not found.why


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "\u00e9", "_x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(_JSON)
def test_json_comes_back_as_it_was(value: Json):
    """Whatever is JSON is read, and as itself."""
    found = strict_json.parse(json.dumps(value))
    assert (found.value, found.why) == (value, "")


@given(st.binary(max_size=80), st.sampled_from(["", "application/json", FORM.type, "multipart/form-data"]))
def test_any_bytes_are_read_or_refused(content: bytes, kind: str):
    """Never an exception, and never a value and a reason at once."""
    found = read(content, MediaType(kind))
    assert not (found.why and found.value is not None)


@given(
    st.dictionaries(
        st.text("ab c&=;+%\u00e9", min_size=1, max_size=4), st.text("xy &=;+%\u00e9", max_size=4), max_size=4
    )
)
def test_a_query_is_read_as_it_was_written(values: dict[str, str]):
    """Encoding and strict reading are each other's inverse."""
    from urllib.parse import urlencode

    assert pairs.strict(urlencode(values), "query").values == values


def test_a_body_is_told_only_when_it_is_asked_for():
    """And an unreadable one is an error that says why."""
    assert READER.asked(declared('POST /a\n\n{"x": 1}'), "body") == {"x": 1}
    assert READER.asked(declared("GET /a"), "body") is None
    for unreadable in (
        declared("POST /a\n\nx"),
        declared("POST /a\n\n{}", body="streamed"),
        declared("POST /a\n\n{}", body="digest"),
    ):
        with pytest.raises(UnreadableFactError):
            READER.asked(unreadable, "body")
    with pytest.raises(KeyError):
        READER.asked(declared("GET /a"), "query")
