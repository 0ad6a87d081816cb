"""Running text without its escapes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_kernel.masking.escapes import unescaped
from gateway_kernel.masking.masker import Detection
from gateway_kernel.masking.members import Members
from gateway_kernel.masking.messages import TextMasker
from gateway_kernel.verdict import ColumnMask

from .chunks import CUTS, same_for_every_split

PLAN = Detection({"email": "redact", "credit_card": "redact", "secret": "redact"})
MEMBERS = Members((ColumnMask(("*.ssn",), "redact"),))


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("to a&#64;b.example!", "to ***!"),
        ("to a&#x40;b&period;example!", "to ***!"),
        ("to a&commat;b.example!", "to ***!"),
        ("{'to': \"a\\u0040b.example\",}", "{'to': \"***\",}"),
        ('x="a\\x40b.example"', 'x="***"'),
        ("card=4111%201111%201111%201111&x", "card=***&x"),
        ("password%3Dhunter2-or-3", "password%3D***"),
        ("caf&eacute; &amp; 100% \\o/", "caf&eacute; &amp; 100% \\o/"),
    ],
)
def test_escapes_hide_nothing_from_detectors(text: str, masked: str) -> None:
    """The stretch is replaced as it is written; what holds nothing keeps its escapes."""
    assert same_for_every_split(lambda: TextMasker(PLAN), text.encode(), (3, 8)) == (masked.encode(), True)


@pytest.mark.parametrize("text", ['{"\\u0073sn": 1,}', "<f name='&#115;sn'>", "x=1&%73sn=2"])
def test_escapes_hide_no_name(text: str) -> None:
    """A hidden member is named, however its name is written."""
    assert same_for_every_split(lambda: TextMasker(None, MEMBERS), text.encode(), (3, 8)) == (b"", False)


def test_text_without_escapes_has_no_other_reading() -> None:
    """Nothing is copied where nothing is escaped."""
    assert unescaped(b"plain & simple 100%") is None


parts = st.lists(
    st.sampled_from(
        [
            "a@b.example",
            "a&#64;b.example",
            "\\u0040",
            "&#",
            "64",
            ";",
            "\\",
            "%",
            "40",
            "a",
            "b.example",
            "\n",
            " ",
            "ssn",
            "\\u000a",
            "%0A",
        ]
    ),
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(parts, CUTS)
def test_no_split_changes_the_output(pieces: list[str], cuts: list[int]) -> None:
    """Invariant 9."""
    same_for_every_split(lambda: TextMasker(PLAN, MEMBERS), "".join(pieces).encode(), cuts)
