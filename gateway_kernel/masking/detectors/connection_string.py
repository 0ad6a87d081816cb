"""The secret part of a connection string: the value of AccountKey, SharedAccessKey or Password, or a URL's password.

The rest of the string (server, user, database) stays readable. A password counts only beside another part of a connection
string, such as `Server=` or `host=`, within 512 bytes; elsewhere it is left to `generic_secret`.
"""

from collections.abc import Iterator

from .detector import Detector, Span, compile_pattern

_CONTEXT = 512  # bytes looked at on each side
_COMPANION = compile_pattern(
    rb"(?i)(?:^|[^A-Za-z])(?:server|data source|host|hostaddr|addr|address|endpoint|account ?name|user|user id|username|uid"
    rb"|dbname|database|initial catalog|driver)[ \t]?="
)
_PAIR = compile_pattern(rb"(?i)(?:AccountKey|SharedAccessKey|Password|Pwd) ?= ?")


def _confirm(data: bytes, start: int, end: int) -> Iterator[Span]:
    pair = _PAIR.match(data, start, end)
    if pair is None:  # a URL: the pattern ends with the at sign
        at = data.index(b":", data.index(b"://", start) + 3, end)
        yield at + 1, end - 1
        return
    if data[start : start + 6].lower() not in (b"accoun", b"shared"):
        floor = max(0, start - _CONTEXT)
        low = max(floor, data.rfind(b"\n", floor, start) + 1)
        high = data.find(b"\n", end, end + _CONTEXT)
        if not _COMPANION.search(data[low : high if high >= 0 else end + _CONTEXT]):
            return
    yield pair.end(), end


DETECTOR = Detector(
    name="connection_string",
    pattern=(
        rb"(?i)(?:AccountKey|SharedAccessKey|Password|Pwd) ?= ?(?:'[^'\r\n]+'|[^;\s\"'<>&]+)"
        rb"|[a-z][a-z0-9+.-]*://[^\s:/@\"'<>?#]*:[^\s/@\"'<>]+@"
    ),
    confirm=_confirm,
    secret=True,
)

EXAMPLES = (
    ("Server=tcp:db;User ID=app;Password=hunter2;Encrypt=True", "hunter2"),
    ("DefaultEndpointsProtocol=https;AccountName=a;AccountKey=c2VjcmV0;EndpointSuffix=x", "c2VjcmV0"),
    ("Endpoint=sb://ns/;SharedAccessKeyName=Root;SharedAccessKey=abc=", "abc="),
    ("postgresql://app:s3cret@db.internal:5432/orders", "s3cret"),
    ("host=db user=app password=hunter2 dbname=orders", "hunter2"),
    ("host=db password='two words'", "'two words'"),
)
COUNTER_EXAMPLES = (
    "https://example.com:8080/path",
    "https://example.com/a:b@c",
    "password=",
    "the password = rotated every day",
    "postgresql://db.internal:5432/orders",
)
