"""JSON web tokens in compact form (RFC 7519; JWE's five parts too): the header is base64url of `{"`, that is `eyJ`.

The whole token is hidden, signature included. Not found: a header that starts with white space, JSON serialisation.
"""

from .detector import Detector

DETECTOR = Detector(
    name="jwt",
    anchors=(b"eyJ",),
    pattern=rb"eyJ[A-Za-z0-9_-]{7,}\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*){0,2}",
    secret=True,
)

EXAMPLES = (
    (
        "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl;",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    ),
    ("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.", "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0."),
    ("eyJhbGciOiJkaXIifQ..aXY.Y2lwaGVy.dGFn", "eyJhbGciOiJkaXIifQ..aXY.Y2lwaGVy.dGFn"),
)
COUNTER_EXAMPLES = ("eyJhbGciOiJIUzI1NiJ9", "eyJ.a.b", "eyJhbGciOiJIUzI1NiJ9.onlytwo")
