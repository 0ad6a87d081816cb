"""Account keys of Azure Storage, Cosmos DB and their kin: 64 bytes in base64, that is 86 characters and `==`.

Any other 64 bytes in base64 look the same and are hidden as well, except a digest written as `sha512-...`.
"""

from collections.abc import Iterator

from .detector import ALNUM, Detector, Span

_NEIGHBOURS = ALNUM | frozenset(b"+/=")


def _confirm(data: bytes, start: int, end: int) -> Iterator[Span]:
    before = data[start - 1] if start else 0
    if before in _NEIGHBOURS - frozenset(b"=") or (end < len(data) and data[end] in _NEIGHBOURS):
        return
    if data[max(0, start - 7) : start] != b"sha512-":
        yield start, end


DETECTOR = Detector(
    name="azure_storage_key", anchors=(b"==",), pattern=rb"[A-Za-z0-9+/]{86}==", confirm=_confirm, secret=True
)

_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # Azurite's, public

EXAMPLES = ((_KEY, _KEY), (f"AccountKey={_KEY};x=1", _KEY), (f'"{_KEY}"', _KEY))
COUNTER_EXAMPLES = ("sha512-" + _KEY, "A" + _KEY, _KEY[1:], _KEY + "=", _KEY[:-2])
