"""Shared access signatures of Azure (Storage, Service Bus, Event Hubs): the whole query with its `sig=`.

Not found: a signature shorter than 20 characters, or `sig=` without one of `sv`, `se`, `sr`, `skn` beside it.
"""

from collections.abc import Iterator

from .detector import Detector, Span, compile_pattern

_COMPANION = compile_pattern(rb"(?:^|[?&; ])(?:sv|se|sr|skn)=")


def _confirm(data: bytes, start: int, end: int) -> Iterator[Span]:
    if _COMPANION.search(data[start:end]):
        yield start, end


DETECTOR = Detector(
    name="sas_token",
    pattern=rb"[A-Za-z0-9%&=._:+/~,-]*sig=[A-Za-z0-9%+/=_-]{20,}[A-Za-z0-9%&=._:+/~,-]*",
    confirm=_confirm,
    secret=True,
)

_SAS = "sv=2022-11-02&ss=b&srt=sco&sp=rl&se=2026-12-01T00:00:00Z&sig=abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG%3D"

EXAMPLES = (
    ("https://acc.blob.core.windows.net/c/f.txt?" + _SAS, _SAS),
    (
        "SharedAccessSignature sr=sb%3A%2F%2Fns&sig=abcdefghijklmnopqrstuvwxyz%3D&se=1700000000&skn=Root",
        "sr=sb%3A%2F%2Fns&sig=abcdefghijklmnopqrstuvwxyz%3D&se=1700000000&skn=Root",
    ),
)
COUNTER_EXAMPLES = (
    "sig=short&sv=1",
    "config=abcdefghijklmnopqrstuvwxyz0123456789",
    "sig=abcdefghijklmnopqrstuvwxyz0123456789",
)
