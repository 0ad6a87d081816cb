"""Streamed input that waits for people: a body or COPY data, encrypted, bounded and digested before anybody is asked.

The key lives only in this object: in memory up to a chunk, then in an unlinked file that nobody can read when the process is gone. What the input
means is its room's business.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from typing import IO

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAX_INPUT = 64 << 20  # bytes of one input that wait for people; more is refused
_CHUNK = 64 << 10  # bytes encrypted at a time


class InputSpool:
    """One input. `too_large` is set, and everything forgotten, when it exceeds `MAX_INPUT`."""

    def __init__(self) -> None:
        self.size = 0
        self.too_large = False
        self._digest = hashlib.sha256()
        self._cipher = AESGCM(AESGCM.generate_key(256))
        self._open: list[bytes] = []
        self._open_size = 0
        self._chunks = 0
        self._file: IO[bytes] | None = None

    def add(self, data: bytes) -> None:
        """Take the next piece."""
        if self.too_large:
            return
        self.size += len(data)
        if self.size > MAX_INPUT:
            self.too_large = True
            self.discard()
            return
        self._digest.update(data)
        self._open.append(data)
        self._open_size += len(data)
        if self._open_size >= _CHUNK:
            self._seal()

    def _seal(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="sallyport-input-")  # noqa: SIM115 - closed by `discard`
        sealed = self._cipher.encrypt(self._nonce(self._chunks), b"".join(self._open), None)
        self._file.write(len(sealed).to_bytes(4) + sealed)
        self._chunks += 1
        self._open.clear()
        self._open_size = 0

    @staticmethod
    def _nonce(chunk: int) -> bytes:
        return chunk.to_bytes(12)

    def digest(self) -> str:
        """Hex SHA-256 of the input, as it would arrive upstream."""
        return self._digest.hexdigest()

    def chunks(self) -> Iterator[bytes]:
        """All of it again, in order, a chunk at a time; the spool is empty afterwards."""
        if self._file is not None:
            self._file.seek(0)
            for number in range(self._chunks):
                size = int.from_bytes(self._file.read(4))
                yield self._cipher.decrypt(self._nonce(number), self._file.read(size), None)
        if self._open:
            yield b"".join(self._open)
        self.discard()

    def discard(self) -> None:
        """Forget everything. Harmless if repeated."""
        self._open.clear()
        if self._file is not None:
            self._file.close()
            self._file = None
