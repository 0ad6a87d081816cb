"""Content codings: decoded as they arrive, whole or not at all, and within bounds."""

import gzip
import zlib
from collections.abc import Callable, Sequence

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.protocols.http import content
from edge_agent.protocols.http.content import PIECE, ContentError, Decoder, codings, known
from tests.gateway_kernel.masking.chunks import CUTS, cut


def raw_deflate(data: bytes) -> bytes:
    """Deflate without the zlib head, as some servers send it."""
    made = zlib.compressobj(wbits=-15)
    return made.compress(data) + made.flush()


ENCODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "gzip of two members": ("gzip", lambda data: gzip.compress(data[:7]) + gzip.compress(data[7:])),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstandard.compress),
    "zstd of two frames": ("zstd", lambda data: zstandard.compress(data[:7]) + zstandard.compress(data[7:])),
    "gzip in br": ("gzip, br", lambda data: brotli.compress(gzip.compress(data))),
}
each_encoder = pytest.mark.parametrize("name", ENCODERS)


def decoded(names: str, chunks: Sequence[bytes]) -> bytes:
    """All that comes out; every piece within its bound."""
    decoder = Decoder(codings(names))
    out: list[bytes] = []
    for chunk in chunks:
        out += decoder.feed(chunk)
    decoder.finish()
    assert all(0 < len(piece) <= PIECE for piece in out)
    return b"".join(out)


@each_encoder
@settings(max_examples=40, deadline=None)
@given(data=st.binary(max_size=300), repeat=st.integers(1, 2000), cuts=CUTS)
def test_what_was_encoded_comes_back_for_any_split(name: str, data: bytes, repeat: int, cuts: list[int]) -> None:
    """Whatever the chunks, also where the text is far larger than a piece."""
    names, encode = ENCODERS[name]
    encoded = encode(data * repeat)
    assert decoded(names, cut(encoded, cuts)) == data * repeat
    assert decoded(names, [encoded[at : at + 1] for at in range(len(encoded))]) == data * repeat


@each_encoder
def test_what_is_cut_short_is_an_error(name: str) -> None:
    """A body that ends in the middle was cut by somebody, and is not masked as if it were whole."""
    names, encode = ENCODERS[name]
    encoded = encode(b"some text that is long enough " * 20)
    for size in range(1, len(encoded)):
        try:
            shorter = decoded(names, [encoded[:size]])
        except ContentError:
            continue
        assert shorter == b"some te", size  # the first of two members is a whole body


@each_encoder
def test_an_empty_body_is_empty_in_any_coding(name: str) -> None:
    """HEAD and 204 name a coding, too."""
    names, encode = ENCODERS[name]
    assert decoded(names, []) == b""
    assert decoded(names, [b""]) == b""
    assert decoded(names, [encode(b"")]) == b""


@pytest.mark.parametrize("names", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"\x00" * 40,
        b"\x1f\x8bgarbage that is no gzip",
        b"(\xb5/\xfdgarbage",
        b'{"plain": "json, not encoded at all"}',
    ],
)
def test_what_is_not_encoded_so_is_an_error(names: str, body: bytes) -> None:
    """Nobody guesses: what the head says is what is read."""
    with pytest.raises(ContentError):
        decoded(names, [body])


@pytest.mark.parametrize("name", ["gzip", "deflate", "raw deflate", "br", "zstd"])
def test_what_goes_on_behind_its_end_is_an_error(name: str) -> None:
    """A reader that stops at the end, and one that does not, would see two bodies."""
    names, encode = ENCODERS[name]
    with pytest.raises(ContentError):
        decoded(names, [encode(b"text") + b"more"])
    with pytest.raises(ContentError):
        decoded(names, [encode(b"text"), b"more"])


@pytest.mark.parametrize("name", ENCODERS)
def test_a_bomb_goes_off_early(name: str) -> None:
    """What unpacks to hundreds of times its size is an error long before it fills the memory."""
    names, encode = ENCODERS[name]
    bomb = encode(bytes(200_000_000))
    decoder = Decoder(codings(names))
    sizes: list[int] = []

    def explode() -> None:
        for chunk in cut(bomb, range(0, len(bomb), 4096)):
            sizes.extend(map(len, decoder.feed(chunk)))

    with pytest.raises(ContentError, match="times its size"):
        explode()
    assert max(sizes) <= PIECE
    assert sum(sizes) <= content.FREE + content.RATIO * len(bomb) < 100_000_000


def test_a_zstd_window_beyond_the_web_s_is_an_error() -> None:
    """RFC 9659: 8 MB; the window is memory of the edge's."""
    parameters = zstandard.ZstdCompressionParameters(window_log=25)
    made = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(ContentError):
        decoded("zstd", [made.compress(b"x" * 1000) + made.flush()])


def test_names_of_codings() -> None:
    """Lists, other cases, old names; identity is none; what is not known is said to be so."""
    assert codings(" GZIP , identity, x-gzip,") == ("gzip", "gzip")
    assert codings("") == ()
    assert known(())
    assert known(("gzip", "br", "zstd"))
    assert not known(("compress",))
    assert not known(("gzip",) * 4)
    with pytest.raises(ContentError, match="cannot be read: compress"):
        Decoder(("compress",))
