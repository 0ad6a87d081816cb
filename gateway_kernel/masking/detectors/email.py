"""Email addresses (RFC 5321 shape, internationalised parts included), also with `%40` for the at sign as in a query string.

Not found: quoted local parts, domain literals, addresses without a dotted domain, `name at example dot com`.
The local part leaves out `=`, `/`, `?`, `&`, `|`, `{` and `}`, which in running text separate more often than they name.
"""

from .detector import Detector

DETECTOR = Detector(
    name="email",
    anchors=(b"@", b"%40"),
    pattern=(
        rb"[A-Za-z0-9._%+'~!#$*^\x80-\xff-]+(?:@|%40)"
        rb"(?:[A-Za-z0-9\x80-\xff-]+\.)+[A-Za-z\x80-\xff][A-Za-z0-9\x80-\xff-]+"
    ),
)

EXAMPLES = (
    ("write to jane.doe+work@mail.example.com now", "jane.doe+work@mail.example.com"),
    ("<o'brien@example.ie>", "o'brien@example.ie"),
    ("/users?email=jane%40example.com&x=1", "jane%40example.com"),
    ("почта иван@пример.рф.", "иван@пример.рф"),
    ("xn: a@b.xn--p1ai", "a@b.xn--p1ai"),
    ('{"to":"a@b.co"}', "a@b.co"),
)
COUNTER_EXAMPLES = (
    "root@localhost",
    "npm install lodash@4.17.21",
    "@app.route and @dataclass",
    "price @ 3.50 each",
    "user@",
    "40% of 40%40",
)
