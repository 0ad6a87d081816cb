"""What is kept of one response for the recording: as much of it as the policy says, and the digest of all where that is not everything.

It counts bytes as the agent gets them, after masking. What they mean is the room's business.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from gateway_kernel.audit import ResponseRecord, responses_kept
from gateway_kernel.judge import Judgement
from gateway_kernel.model import Session

FULL_RESPONSE = 256 << 10  # bytes of one response that are recorded at most where the policy says `full`
HEAD_RESPONSE = 4 << 10  # bytes where it says `head`


def recorded_of_response(judgement: Judgement, session: Session) -> int:
    """How many bytes of the response are recorded, beside its digest."""
    kept = responses_kept(judgement.verdict.obligations, observed=session.mode == "observe")
    return FULL_RESPONSE if kept == "full" else HEAD_RESPONSE if kept == "head" else 0


class Kept:
    """One response. `limit` is how many of its bytes are kept."""

    __slots__ = ("_body", "_digest", "_kept", "limit", "size")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._kept = 0
        self._body: list[bytes] = []
        self._digest: Any = None

    def add(self, piece: bytes) -> None:
        """Account for the next piece."""
        size = len(piece)
        self.size += size
        if self._digest is None:
            if self._kept + size <= self.limit:
                self._body.append(piece)
                self._kept += size
                return
            self._digest = hashlib.sha256(b"".join(self._body))
            self._body.append(piece[: self.limit - self._kept])
        self._digest.update(piece)

    def record(self, kind: str, *, rows: int = 0, masked: Mapping[str, int] | None = None) -> ResponseRecord | None:
        """What goes into the recording; None if nothing came."""
        if not self.size:
            return None
        digest = "" if self._digest is None else self._digest.hexdigest()
        return ResponseRecord(
            kind, b"".join(self._body), digest, rows, self.size, dict(masked or {}), self._digest is not None
        )
