"""International bank account numbers (ISO 13616): known country, that country's length, remainder 1 modulo 97.

In upper case, together or in groups parted by single spaces or dashes. Lower case is not found: it reads as hexadecimal.
"""

from collections.abc import Iterator

from .detector import ALNUM, Detector, Span

_LENGTHS = {
    country.encode(): length
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI FO GL NL SD FK",
        19: "MK SI",
        20: "AT BA EE KZ LT LU XK MN",
        21: "CH CR HR LI LV",
        22: "BG BH DE GB GE IE ME RS VA",
        23: "AE GI IL IQ TL OM SO",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "FR GR IT MC MR SM BI DJ",
        28: "AL AZ BY CY DO GT HU LB PL SV NI",
        29: "BR EG PS QA UA",
        30: "JO KW MU YE",
        31: "MT SC",
        32: "LC",
        33: "RU",
    }.items()
    for country in countries.split()
}
_ACCOUNT = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def mod97(account: bytes) -> int:
    """The remainder of ISO 7064 over the account with its first four characters moved to the end."""
    return int("".join(str(int(chr(byte), 36)) for byte in account[4:] + account[:4])) % 97


def _at(data: bytes, start: int) -> Span | None:
    length = _LENGTHS.get(data[start : start + 2])
    if length is None or (start and data[start - 1] in ALNUM):
        return None
    account = bytearray()
    at = start
    while len(account) < length and at < len(data):
        if data[at] in _ACCOUNT:
            account.append(data[at])
        elif not (data[at] in b" -" and data[at - 1] in _ACCOUNT):
            return None
        at += 1
    if len(account) < length or (at < len(data) and data[at] in ALNUM) or not account[2:4].isdigit():
        return None
    return (start, at) if mod97(bytes(account)) == 1 else None


def _confirm(data: bytes, start: int, end: int) -> Iterator[Span]:
    for at in range(start, end):
        if (span := _at(data, at)) is not None:
            yield span


DETECTOR = Detector(name="iban", pattern=rb"[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]){11}", confirm=_confirm)

EXAMPLES = (
    ("DE89370400440532013000", "DE89370400440532013000"),
    ("pay DE89 3704 0044 0532 0130 00 EUR 500", "DE89 3704 0044 0532 0130 00"),
    ("GB82-WEST-1234-5698-7654-32", "GB82-WEST-1234-5698-7654-32"),
    ("NO9386011117947", "NO9386011117947"),
    ("XX12 DE89 3704 0044 0532 0130 00", "DE89 3704 0044 0532 0130 00"),
)
COUNTER_EXAMPLES = (
    "DE89370400440532013001",
    "XX89370400440532013000",
    "ADE89370400440532013000",
    "DE8937040044053201300012",
    "DE89",
    "AB12CD34EF56AB78CD90",
)
