"""One form of a target: what is normalised to what, and what has no form at all."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway_kernel.parse.http.target import TargetError, decoded, encoded, normalised


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("/", "/"),
        ("/orders/7?x=1", "/orders/7?x=1"),
        ("/orders/%37", "/orders/7"),
        ("/a/./b/../c", "/a/c"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("//a///b//", "/a/b/"),
        ("/a%20b", "/a%20b"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/100%25", "/100%25"),
        ("/a%3fb%23c", "/a%3Fb%23c"),
        ("/a|b{c}", "/a%7Cb%7Bc%7D"),
        ("/x:restart(1,'2')", "/x:restart(1,'2')"),
        ("/%7Euser", "/~user"),
        ("/...", "/..."),
        ("/a?", "/a?"),
        ("/a?b=/../%2e%2e//c", "/a?b=/../%2e%2e//c"),
        ("/a?filter[x]=1", "/a?filter[x]=1"),
    ],
)
def test_a_target_has_one_form(raw: str, normal: str):
    """Decoded once, without dot and empty segments, encoded in one way; the query as it was."""
    assert normalised(raw.encode()) == normal


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ("orders", "begins with '/'"),
        ("*", "begins with '/'"),
        ("http://x/orders", "begins with '/'"),
        ("", "begins with '/'"),
        ("/a%2fb", "slash"),
        ("/a%5Cb", "slash"),
        ("/a\\b", "slash"),
        ("/a;x=1/b", "';'"),
        ("/a/..;/b", "';'"),
        ("/a%3Bb", "';'"),
        ("/a%252fb", "twice"),
        ("/a%2541", "twice"),
        ("/a%", "hexadecimal"),
        ("/a%g1", "hexadecimal"),
        ("/a%2", "hexadecimal"),
        ("/%00", "control"),
        ("/a%0d%0ab", "control"),
        ("/a%7f", "control"),
        ("/a%c2%85", "control"),
        ("/a#b", "fragment"),
        ("/a?b#c", "fragment"),
        ("/..", "above its root"),
        ("/a/../../b", "above its root"),
        ("/%ff", "UTF-8"),
        ("/%c0%af", "UTF-8"),
        ("/%ed%a0%80", "UTF-8"),
        ("/caf\u00e9", "percent-encoded"),
        ("/a b", "percent-encoded"),
        ("/a\tb", "percent-encoded"),
        ("/%ef%bc%8fadmin", "U\\+FF0F"),
        ("/%ef%bd%81dmin", "U\\+FF41"),
        ("/%e2%80%a4%e2%80%a4/x", "U\\+2024"),
        ("/a%e2%80%8bdmin", "invisible"),
        ("/a?b=%", "hexadecimal"),
        ("/a?b=c d", "0x20"),
        ("/a?b=\u00e9", "0xC3"),
        ("/a?b=\\", "0x5C"),
        ('/a?b="c"', "0x22"),
    ],
)
def test_what_two_servers_could_read_differently_has_none(raw: str, says: str):
    """The error says what is wrong."""
    with pytest.raises(TargetError, match=says):
        normalised(raw.encode())


_PIECES = st.sampled_from(
    ["a", "B7", "/", "//", ".", "..", "%2e", "%2E", "%20", "%c3%a9", "%25", "%2f", "%5c", "%", ";", "~", "?", "="]
)
_RAW = st.lists(_PIECES, max_size=12).map(lambda pieces: ("/" + "".join(pieces)).encode()) | st.binary(max_size=24).map(
    b"/".__add__
)


@given(_RAW)
@example(b"/a//../b")
@example(b"/%25%34%31")
def test_normalising_twice_changes_nothing_and_leaves_nothing_to_read_twice(raw: bytes):
    """Either an error, or a form that is its own form."""
    try:
        normal = normalised(raw)
    except TargetError:
        return
    path, _, _ = normal.partition("?")
    assert normalised(normal.encode("ascii")) == normal
    assert "//" not in path
    assert not {".", ".."} & set(path.split("/"))
    assert not any(escape in path.lower() for escape in ("%2f", "%5c", "%2e", "%00", "%3b"))
    assert "\\" not in path
    assert decoded(path).startswith("/")


_LETTER = st.characters(codec="utf-8", categories=["Ll", "Lu", "Nd", "Po"], exclude_characters="/\\;%")


@given(st.lists(st.text(_LETTER, min_size=1, max_size=8).filter(lambda name: name not in (".", "..")), max_size=5))
def test_names_are_encoded_and_decoded_without_loss(segments: list[str]):
    """What is not refused comes back as it was."""
    raw = encoded(segments)
    try:
        normal = normalised(raw.encode("ascii"))
    except TargetError as error:
        assert "read as an ASCII" in str(error)  # noqa: PT017 - full-width letters and their kin are the only ones refused here
        return
    assert normal == raw
    assert decoded(normal) == "/" + "/".join(segments)
