"""Whole messages, and text of which nothing is known."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_kernel.errors import UnmaskableError
from gateway_kernel.masking.masker import Detection
from gateway_kernel.masking.members import Members
from gateway_kernel.masking.messages import MessageMasker, TextMasker
from gateway_kernel.verdict import ColumnMask

from .chunks import CUTS, same_for_every_split

PLAN = Detection({"email": "redact"})
SECRETS = Detection({"email": "redact", "secret": "redact"})
MEMBERS = Members((ColumnMask(("*.ssn",), "redact"),))


def test_a_message_is_json_or_text() -> None:
    """JSON by member and detector, text by detector; the same object where nothing is hidden."""
    subject = MessageMasker(PLAN, MEMBERS)
    assert subject.masked(rb'{"ssn": 1, "to": "a\u0040b.example"}') == b'{"ssn": null, "to": "***"}'
    assert subject.masked(b"write to a@b.example") == b"write to ***"
    assert subject.counts == {"columns": 1, "email": 2}
    plain = b"nothing here"
    assert subject.masked(plain) is plain


def test_a_text_that_names_a_hidden_member_is_refused() -> None:
    """Also JSON that is not quite JSON: a lenient reader would find the member in it."""
    for text in (b"id,ssn\n1,2\n", b'{"ssn": 1,}', b"<ssn>1</ssn>"):
        with pytest.raises(UnmaskableError, match="names a member"):
            MessageMasker(PLAN, MEMBERS).masked(text)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["a@b.example", "ssn", "\n", " ", "x", "ss", "n", "-----BEGIN PRIVATE KEY-----", "\nMII\n"]),
        max_size=12,
    ),
    CUTS,
)
def test_no_split_changes_what_goes_out_before_a_refusal(parts: list[str], cuts: list[int]) -> None:
    """Invariant 9: lines before the one with the name."""
    same_for_every_split(lambda: TextMasker(SECRETS, MEMBERS), "".join(parts).encode(), cuts)


def test_running_text_is_refused_where_the_member_is_named() -> None:
    """The lines before it have gone. Chunks make no difference, also where a name is cut in two."""
    text = b"to a@b.example\nand more\n" + b"x " * 50_000 + b"the SSN is 1\nrest\n"
    out, whole = same_for_every_split(lambda: TextMasker(PLAN, MEMBERS), text, (100_021, 100_030, 80_000))
    assert not whole
    assert out.startswith(b"to ***\nand more\n")
    assert b"SSN" not in out
    assert same_for_every_split(lambda: TextMasker(None, MEMBERS), b"a@b.example\n" * 3, (5,)) == (
        b"a@b.example\n" * 3,
        True,
    )
