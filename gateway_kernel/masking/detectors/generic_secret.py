"""Secrets without a format of their own: well-known prefixes, and the value behind a word such as `api_key` or `password`.

Behind a word, a value of 8 or more characters counts if it mixes letters with digits or signs: prose does not. Only the value is
hidden. Not found: passphrases of plain words, secrets under other names.
"""

from collections.abc import Iterator

from .detector import DIGITS, WORD, Detector, Span, compile_pattern

_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_PLACEHOLDERS = (b"${", b"{{", b"$(", b"***")
_NAMED = (
    rb"(?:(?i:api[_-]?key|access[_-]?key|secret[_-]?key|client[_-]?secret|secret|auth[_-]?token|access[_-]?token"
    rb"|refresh[_-]?token|token|password|passwd|pwd)"
    rb"[\"']?[ \t]{0,3}[:=][ \t]{0,3}[\"']?|(?i:bearer) )"
)
_PREFIXED = (
    rb"sk-[A-Za-z0-9_-]{20,}|[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|xox[abeprs]-[A-Za-z0-9-]{10,}"
    rb"|AIza[A-Za-z0-9_-]{35}|glpat-[A-Za-z0-9_-]{20,}|npm_[A-Za-z0-9]{36}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"
)
_name = compile_pattern(_NAMED)


def _confirm(data: bytes, start: int, end: int) -> Iterator[Span]:
    name = _name.match(data, start, end)
    if name is None:  # a prefix is its own proof, where it starts a word
        if not (start and data[start - 1] in WORD):
            yield start, end
        return
    value = data[name.end() : end]
    kinds = frozenset(value)
    mixed = bool(kinds & _LETTERS) and (bool(kinds & DIGITS) or bool(kinds - _LETTERS - frozenset(b"_-./:()[]{}")))
    if mixed and not value.startswith(_PLACEHOLDERS):
        yield name.end(), end


DETECTOR = Detector(
    name="generic_secret",
    pattern=_NAMED + rb"[^\x00\s\"'\\,;<>]{8,}|" + _PREFIXED,
    confirm=_confirm,
    secret=True,
)

EXAMPLES = (
    ("api_key = 9f8e7d6c5b4a", "9f8e7d6c5b4a"),
    ('{"password": "Tr0ub4dor&3"}', "Tr0ub4dor&3"),
    ("client_secret=abc8Q~defghijklm1234567890", "abc8Q~defghijklm1234567890"),
    ("Authorization: Bearer abcdefghij0123456789xyz", "abcdefghij0123456789xyz"),
    ("key sk-abcdefghijklmnopqrstuvwx done", "sk-abcdefghijklmnopqrstuvwx"),
    ("xoxb-1234567890-abcdef", "xoxb-1234567890-abcdef"),
    ("token: c2VjcmV0IHZhbHVlMQ==", "c2VjcmV0IHZhbHVlMQ=="),
)
COUNTER_EXAMPLES = (
    "password: required",
    "token = ${VAULT_TOKEN_1}",
    "the secret: remember",
    "disk-abcdefghijklmnopqrstuvwxyz",
    "password",
    "tokens: 12345",
)
