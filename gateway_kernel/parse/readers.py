"""The registry of readers: one line a protocol."""

from gateway_kernel.parse import Reader
from gateway_kernel.parse.http import reader as http
from gateway_kernel.parse.sql import postgres

READERS: tuple[Reader, ...] = (postgres.READER, http.READER)

_BY_PROTOCOL = {reader.protocol: reader for reader in READERS}


def reader_for(protocol: str) -> Reader:
    """Return the reader of `protocol`; raise `KeyError` naming the protocols there are."""
    try:
        return _BY_PROTOCOL[protocol]
    except KeyError:
        raise KeyError(f"no reader for protocol {protocol!r}; there are: {', '.join(sorted(_BY_PROTOCOL))}") from None
