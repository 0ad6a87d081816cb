"""Masking of values and streams: what is hidden, and that chunking never matters."""

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway_kernel.masking import masker as masker_module
from gateway_kernel.masking.detectors import MAX_MATCH, private_key
from gateway_kernel.masking.masker import SEGMENT, Detection, Masker, combine
from gateway_kernel.masking.strategies import MaskingKeys

from .test_detectors import EVERY_EXAMPLE

KEYS = MaskingKeys.derive(b"a secret for these tests only")
EVERYTHING = Detection({"email": "partial", "credit_card": "redact", "secret": "redact", "phone": "hash"}, KEYS)
CARD = b"4111 1111 1111 1111"


def _stream(detection: Detection, chunks: list[bytes]) -> bytes:
    masker = Masker(detection)
    return b"".join([*map(masker.feed, chunks), masker.finish()])


def test_hits_are_replaced_and_the_rest_stays() -> None:
    """Each strategy does its part within one text."""
    assert EVERYTHING.mask_value(b"card " + CARD + b" of jane@example.com") == b"card *** of ***@example.com"


def test_a_clean_value_is_the_same_object() -> None:
    """Where nothing is found nothing is copied."""
    value = b"nothing to see here, 12 pieces at 3.50"
    assert EVERYTHING.mask_value(value) is value


def test_overlapping_detectors_join_and_the_stricter_strategy_wins() -> None:
    """An address inside a token is hidden with the token, by the stricter of both."""
    detection = Detection({"email": "partial", "connection_string": "redact"})
    hits = detection.hits(b"postgres://app:s3cret@db.example.com/x")
    assert [(hit.strategy, hit.detectors) for hit in hits] == [("redact", ("connection_string", "email"))] or [
        hit.strategy for hit in hits
    ] == ["redact"]


def test_null_makes_the_value_null_and_cuts_a_stream() -> None:
    """A value can be NULL; a stream can only lose the stretch, and says so."""
    detection = Detection({"credit_card": "null"})
    assert detection.mask_value(b"card " + CARD) is None
    masker = Masker(detection)
    assert masker.feed(b"card " + CARD + b" end\n") + masker.finish() == b"card  end\n"
    assert masker.nulled


def test_two_rules_on_one_detector_combine_to_the_stricter() -> None:
    """`secret` as redact and `jwt` as null: the token becomes null, the rest is redacted."""
    plan = combine([(("secret", "email"), "redact"), (("jwt",), "null"), (("email",), "partial")])
    assert plan["jwt"] == "null"
    assert plan["aws_key"] == "redact"
    assert plan["email"] == "redact"


def test_counts_say_which_detector_hid_how_much() -> None:
    """The recording wants numbers, not content."""
    masker = Masker(EVERYTHING)
    masker.feed(b"a@b.example, c@d.example\n" + CARD)
    masker.finish()
    assert masker.counts == {"email": 2, "credit_card": 1}


def test_a_strategy_without_its_key_does_not_load() -> None:
    """Hashing without a key would be reversible by guessing."""
    with pytest.raises(ValueError, match="needs masking keys"):
        Detection({"email": "hash"})


@pytest.mark.parametrize(
    "value",
    [
        b"4111\xff1111 1111 1111",
        b"4\x001\x001\x001\x001\x001\x001\x001\x001\x001\x001\x001\x001\x001\x001\x001\x00",
        b"jane\xc1\x80example.com",
        b"jane\xe0\x81\x80example.com",
        b"jane\xf0\x80\x81\x80example.com",
        b"4111\xe2\x82" + b"111111111111",
        b"-----BE\xffGIN \x00PRIVATE\xc0\xa0KEY-----\njane1111",
    ],
)
def test_bytes_that_a_careless_reader_would_decode_are_hidden(value: bytes) -> None:
    """Invalid, overlong or NUL-ridden bytes do not carry a secret through."""
    masked = EVERYTHING.mask_value(value)
    assert masked is not None
    assert masked.endswith((b"***", b"***\x00")) or b"***" in masked
    assert b"1111" not in masked.replace(b"\x00", b"")[3:]
    assert b"jane" not in masked


pieces = st.lists(
    st.one_of(
        st.sampled_from(EVERY_EXAMPLE),
        st.sampled_from(
            [b"\n", b" ", b"-----BEGIN PRIVATE KEY-----", b"-----END PRIVATE KEY-----", CARD, b"\xff", b"\r\n"]
        ),
        st.binary(max_size=8),
        st.text("ab1 @.-:=\n", max_size=12).map(str.encode),
    ),
    max_size=12,
)


@settings(max_examples=300, deadline=None)
@given(pieces, st.lists(st.integers(0, 600), max_size=6))
@example([b"-----BEGIN PRIVATE KEY-----\nab", b"\n-----END PRIVATE KEY-----foo@bar.com\n"], [3, 30, 31])
def test_no_split_changes_the_output(parts: list[bytes], cuts: list[int]) -> None:
    """Invariant 9: the output of a stream, and of a value, depends on the content alone."""
    data = b"".join(parts)
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    chunks = [data[a:b] for a, b in pairwise(places)]
    whole = _stream(EVERYTHING, [data])
    assert _stream(EVERYTHING, chunks) == whole
    assert _stream(EVERYTHING, [bytes([byte]) for byte in data]) == whole
    assert EVERYTHING.mask_value(data) == whole


@settings(max_examples=150, deadline=None)
@given(pieces, st.lists(st.integers(0, 4000), max_size=8), st.integers(1, 40))
def test_no_split_changes_the_output_at_the_seams_of_long_lines(
    parts: list[bytes], cuts: list[int], repeat: int
) -> None:
    """The same with segments made so small that every text has seams."""
    data = b"".join(parts) * repeat
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    chunks = [data[a:b] for a, b in pairwise(places)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masker_module, "SEGMENT", 97)
        patch.setattr(masker_module, "MAX_MATCH", 53)
        patch.setattr(private_key, "MAX_MATCH", 53)
        whole = _stream(EVERYTHING, [data])
        assert _stream(EVERYTHING, chunks) == whole
        assert EVERYTHING.mask_value(data) == whole


@pytest.mark.parametrize("shift", range(-20, 3))
def test_a_secret_over_the_seam_of_a_long_line_is_hidden(shift: int) -> None:
    """A line without end is cut in segments; what lies across the cut is seen whole."""
    data = b"x" * (SEGMENT + shift - 1) + b" " + CARD + b" " + b"y" * (2 * SEGMENT)
    assert CARD[:14] not in _stream(EVERYTHING, [data])
    assert _stream(EVERYTHING, [data]) == data.replace(CARD, b"***")


def test_what_is_held_back_is_bounded() -> None:
    """A stream without newlines never makes the masker hold more than a segment and its look-ahead."""
    masker = Masker(EVERYTHING)
    for _ in range(40):
        masker.feed(b"a" * 10_000)
        assert masker.held < SEGMENT + MAX_MATCH
    opened = Masker(EVERYTHING)
    opened.feed(b"-----BEGIN PRIVATE KEY-----\n")
    for _ in range(400):
        opened.feed(b"TUlJ" * 16 + b"\n")
        assert opened.held <= SEGMENT + MAX_MATCH


def test_a_private_key_of_many_lines_is_one_hit_in_a_stream() -> None:
    """Lines of a PEM block are not given out before its end is known."""
    key = b"-----BEGIN RSA PRIVATE KEY-----\n" + b"TUlJRXBB\n" * 50 + b"-----END RSA PRIVATE KEY-----"
    data = b"before\n" + key + b"\nafter\n"
    assert _stream(EVERYTHING, [data[i : i + 7] for i in range(0, len(data), 7)]) == b"before\n***\nafter\n"
