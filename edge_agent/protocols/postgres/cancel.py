"""Cancel keys: which session a CancelRequest means, across workers and replicas.

The key a client gets holds the server's own process id, since drivers compare it with notifications and `pg_backend_pid()`, and a secret of
ours: this worker's number in 2 bytes, then chance (2 bytes in protocol 3.0, whose secret has 4; 30 in 3.2). Guessing a 3.0 key can at worst
cancel another agent's statement, and each guess costs a connection.
"""

import secrets
import struct
from collections.abc import Callable

from edge_agent.protocols.postgres.messages import Cancel

_worker = struct.Struct("!H")
_process = struct.Struct("!I")


class CancelKeys:
    """The keys of one worker's sessions; keys of others go to `forward(worker, key)`."""

    def __init__(self, worker: int, forward: Callable[[int, bytes], None]) -> None:
        self._worker = worker
        self._forward = forward
        self._sessions: dict[bytes, Callable[[], None]] = {}

    def issue(self, process: int, cancel: Callable[[], None], *, long: bool) -> bytes:
        """A new secret for a session on server process `process`; `cancel` is called for a request that carries it."""
        while True:
            secret = _worker.pack(self._worker) + secrets.token_bytes(30 if long else 2)
            key = _process.pack(process) + secret
            if key not in self._sessions:
                self._sessions[key] = cancel
                return secret

    def withdraw(self, process: int, secret: bytes) -> None:
        """Forget a key. Harmless if repeated."""
        self._sessions.pop(_process.pack(process) + secret, None)

    def request(self, cancel: Cancel) -> None:
        """Act on a CancelRequest; an unknown key is ignored, as the server does."""
        key = _process.pack(cancel.process) + cancel.secret
        if _worker.unpack_from(cancel.secret)[0] == self._worker:
            self.received(key)
        else:
            self._forward(_worker.unpack_from(cancel.secret)[0], key)

    def received(self, key: bytes) -> None:
        """Act on a key that belongs to this worker, perhaps handed over by a peer."""
        act = self._sessions.get(key)
        if act is not None:
            act()
