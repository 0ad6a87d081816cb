"""The hash chain of one recording: turns encoded bodies into lines, each naming the SHA-256 of the line before it.

The line is what `audit.AuditEvent` decodes, written around a body that is encoded already: most operations repeat a statement,
and only what differs is encoded anew (`audit.Repeated`). `chain.pxd` lets this be compiled; it runs the same without.
"""

from hashlib import sha256

from msgspec.json import Encoder

GENESIS = "0" * 64
"""What the first event of a session names as its predecessor."""

_encode = Encoder().encode


class Chain:
    """Where one session's recording stands: the `sequence` of its next event, and the hex SHA-256 of its last line (`head`).

    The writer of the recording owns it.
    """

    def __init__(self, session: str, sequence: int = 0, head: str = GENESIS) -> None:
        self.session = session
        self.sequence = sequence
        self.head = head
        self._opening = b'{"v":1,"session":' + _encode(session) + b',"sequence":'

    def link(self, body: object, now: int) -> bytes:
        """Return the next line of the recording, without a line end, for a body that is still to be encoded."""
        return self.append(_encode(body), now)

    def append(self, body: bytes, now: int) -> bytes:
        """Return the next line for a body in JSON; `now` is in microseconds."""
        line = b'%b%d,"at":%d,"previous":"%b","body":%b}' % (
            self._opening,
            self.sequence,
            now,
            self.head.encode(),
            body,
        )
        self.head = sha256(line).hexdigest()
        self.sequence += 1
        return line
