"""What every masker of a stream has in common: how it takes and gives, and how it fails.

If a stream can be masked no further, what was good until then goes out first; the next call raises the error, and every call after it: what is given
out before an error must not depend on the chunks either (invariant 9). At the end of a stream the error comes at once.
"""

from abc import ABC, abstractmethod
from collections import Counter

from gateway_kernel.errors import UnmaskableError


class Gathering(ABC):
    """Gathers what it reads from each chunk, and remembers that it failed."""

    __slots__ = ("_failure",)

    def __init__(self) -> None:
        self._failure: UnmaskableError | None = None

    @abstractmethod
    def _read(self, chunk: bytes, out: list[bytes], final: bool) -> None:
        """Append to `out` what can no longer change, now that `chunk` has come; all of it if the stream has ended (`final`)."""

    def _gather(self, chunk: bytes, *, final: bool = False) -> list[bytes]:
        if self._failure is not None:
            raise self._failure
        out: list[bytes] = []
        try:
            self._read(chunk, out, final)
        except UnmaskableError as error:
            self._failure = error
            if final or not any(out):
                raise
        return out


class Stream(Gathering):
    """Masks one stream. `feed` gives what is already decided, `finish` the rest; `counts` says what was hidden so far.

    `nulled` is True if a strategy asked for null. UnmaskableError where the stream cannot be masked.
    """

    __slots__ = ("counts", "nulled")

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.nulled = False

    @property
    @abstractmethod
    def held(self) -> int:
        """Bytes taken in and not yet given out."""

    def feed(self, chunk: bytes) -> bytes:
        """Take in the next bytes of the stream and give out what can no longer change."""
        return b"".join(self._gather(chunk))

    def finish(self) -> bytes:
        """The stream has ended: give out all that is held."""
        return b"".join(self._gather(b"", final=True))
