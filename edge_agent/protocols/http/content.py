"""Decoding of content codings (RFC 9110 8.4.1), as the body arrives and within bounds.

A coding nested in another is decoded in turn. What is cut short, what goes on behind its end, and what unpacks to far more than it was raise
`ContentError`: a body that cannot be read whole cannot be masked. Nothing is encoded again here.
"""

import zlib
from collections.abc import Iterator
from typing import Protocol

import brotli
import zstandard

from gateway_kernel.errors import UnmaskableError

KIB = 1024
PIECE = 64 * KIB  # bytes of a decoded piece, at most
RATIO = 400  # times the size of what came: ordinary text stays below 30; above it is a bomb
FREE = 1024 * KIB  # bytes that may come out whatever the ratio
WINDOW = 8 * KIB * KIB  # bytes of zstd's window (RFC 9659)
MOST_CODINGS = 3  # in one another
_STEP = 128  # bytes given to zstd at once, which has no bound on what comes out: a block of 128 KiB takes four


class ContentError(UnmaskableError):
    """The body is not what its content coding says."""


class _Coding(Protocol):
    """One coding of a body."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What these bytes say, in pieces."""
        ...

    def finish(self) -> None:
        """The body has ended: ContentError if it is not whole."""
        ...


class _Zlib:
    """gzip of any number of members (RFC 1952 2.2), or deflate: zlib as it should be (RFC 1950), or raw as some send it."""

    def __init__(self, coding: str) -> None:
        self._gzip = coding == "gzip"
        self._object = zlib.decompressobj(31) if self._gzip else None
        self._head = b""
        self._empty = True  # nothing came since the last member ended

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._object is None:
            data = self._head = self._head + data
            if len(data) < 2:
                return
            # RFC 1950 2.2: the method is 8, and the first two bytes are a multiple of 31.
            zlib_head = data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
            self._object = zlib.decompressobj(15 if zlib_head else -15)
        while data:
            if self._object.eof:
                if not self._gzip:
                    raise ContentError("the body goes on behind its deflate content")
                self._object = zlib.decompressobj(31)
                self._empty = True
            self._empty = False
            try:
                piece = self._object.decompress(data, PIECE)
            except zlib.error as error:
                raise ContentError(f"the body is not {'gzip' if self._gzip else 'deflate'}: {error}") from None
            if piece:
                yield piece
            data = self._object.unused_data if self._object.eof else self._object.unconsumed_tail
            while not data and not self._object.eof and len(piece) == PIECE:
                piece = self._object.decompress(b"", PIECE)
                if piece:
                    yield piece

    def finish(self) -> None:
        if (self._head or self._gzip) and (self._object is None or not (self._object.eof or self._empty)):
            raise ContentError("the body ends in the middle of its compressed content")


class _Brotli:
    """br (RFC 7932)."""

    def __init__(self) -> None:
        self._object = brotli.Decompressor()
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._begun |= bool(data)
        if data and self._object.is_finished():
            raise ContentError("the body goes on behind its brotli content")
        try:
            if data:
                yield from _cut(self._object.process(data, output_buffer_limit=PIECE))
            while not self._object.can_accept_more_data():
                yield from _cut(self._object.process(b"", output_buffer_limit=PIECE))
        except brotli.error as error:
            raise ContentError(f"the body is not brotli: {error}") from None

    def finish(self) -> None:
        if self._begun and not self._object.is_finished():
            raise ContentError("the body ends in the middle of its compressed content")


class _Zstd:
    """zstd (RFC 8878), any number of frames."""

    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW)
        self._object = self._decompressor.decompressobj()
        self._empty = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        for at in range(0, len(data), _STEP):
            step = data[at : at + _STEP]
            while step:
                if self._object.eof:
                    self._object = self._decompressor.decompressobj()
                self._empty = False
                try:
                    yield from _cut(self._object.decompress(step))
                except zstandard.ZstdError as error:
                    raise ContentError(f"the body is not zstd: {error}") from None
                step = self._object.unused_data if self._object.eof else b""

    def finish(self) -> None:
        if not (self._empty or self._object.eof):
            raise ContentError("the body ends in the middle of its compressed content")


def _cut(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), PIECE):
        yield data[at : at + PIECE]


def codings(value: str) -> tuple[str, ...]:
    """The codings that a Content-Encoding names, in the order in which they were applied; `identity` is none."""
    names = (name.strip().lower() for name in value.split(","))
    return tuple({"x-gzip": "gzip"}.get(name, name) for name in names if name not in ("", "identity"))


def known(names: tuple[str, ...]) -> bool:
    """True if a body in these codings can be decoded."""
    return len(names) <= MOST_CODINGS and all(name in ("gzip", "deflate", "br", "zstd") for name in names)


class Decoder:
    """Decodes one body. `feed` gives pieces of at most `PIECE` bytes; an empty body is empty in any coding."""

    def __init__(self, names: tuple[str, ...]) -> None:
        if not known(names):
            raise ContentError(f"the body is encoded in a way that cannot be read: {', '.join(names)}")
        self._codings: list[_Coding] = [_coding(name) for name in reversed(names)]
        self._came = 0
        self._went = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The next bytes as they came, in pieces as they were before."""
        self._came += len(data)
        for piece in self._through(data, 0):
            self._went += len(piece)
            if self._went > FREE + RATIO * self._came:
                raise ContentError(f"the body unpacks to more than {RATIO} times its size")
            yield piece

    def finish(self) -> None:
        """The body has ended: ContentError if it is not whole."""
        for coding in self._codings:
            coding.finish()

    def _through(self, data: bytes, depth: int) -> Iterator[bytes]:
        if depth == len(self._codings):
            yield data
            return
        for piece in self._codings[depth].feed(data):
            yield from self._through(piece, depth + 1)


def _coding(name: str) -> _Coding:
    if name == "br":
        return _Brotli()
    return _Zstd() if name == "zstd" else _Zlib(name)
