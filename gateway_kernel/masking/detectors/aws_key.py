"""Amazon Web Services access key ids (AKIA, ASIA and kin), and secret access keys that stand behind their own name."""

from collections.abc import Iterator

from .detector import ALNUM, Detector, Span, stands_alone

_BASE64 = ALNUM | frozenset(b"+/=")


def _confirm(data: bytes, start: int, end: int) -> Iterator[Span]:
    if end - start == 20:
        if stands_alone(data, start, end, ALNUM):
            yield start, end
    elif not (end < len(data) and data[end] in _BASE64):
        yield end - 40, end


DETECTOR = Detector(
    name="aws_key",
    pattern=(
        rb"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}"
        rb"|(?i:secret_?access_?key)[\"']?[ \t]{0,2}[:=][ \t]{0,2}[\"']?[A-Za-z0-9/+]{40}"
    ),
    confirm=_confirm,
    secret=True,
)

EXAMPLES = (
    ("id AKIAIOSFODNN7EXAMPLE ok", "AKIAIOSFODNN7EXAMPLE"),
    (
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    ),
    ('"SecretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"', "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
)
COUNTER_EXAMPLES = ("AKIAIOSFODNN7EXAMPLE1", "XAKIAIOSFODNN7EXAMPLE", "AKIA", "secret_access_key = short")
