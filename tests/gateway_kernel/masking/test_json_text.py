"""JSON stays JSON, whatever is hidden in it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_kernel.masking.json_text import mask_json
from gateway_kernel.masking.masker import Detection

PLAN = Detection({"email": "redact", "credit_card": "partial", "secret": "redact"})
CARD = "4111111111111111"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('{"to": "a@b.example", "n": 1.50}', '{"to": "***", "n": 1.50}'),
        (r'{"to": "a\u0040b.example"}', '{"to": "***"}'),
        ('{"a@b.example": 1, "a@b.example": 2}', '{"***": 1, "***": 2}'),
        (f'{{"card": {CARD}}}', '{"card": null}'),
        (f'[ "{CARD}" , 12 ]', '[ "***1111" , 12 ]'),
        ('{"password": "hunter2-or-3"}', '{"password": "***"}'),
        (r'{"pass\u0077ord": "hunter2-or-3"}', r'{"pass\u0077ord": "***"}'),
        (r'{"password"  :  "hunter2\u002dor-3"}', '{"password"  :  "***"}'),
        ('{"password": "hunter2-or-3;a@b.example"}', '{"password": "***;***"}'),
        (r'{"password": "hunter2-or-3;\/a@b.example"}', '{"password": "***"}'),
        (r'{"path": "C:\\dir", "x": "\u00e9"}', r'{"path": "C:\\dir", "x": "\u00e9"}'),
        ('"a@b.example"', '"***"'),
    ],
)
def test_hits_are_hidden_inside_the_tokens(text: str, masked: str) -> None:
    """Strings keep their quotes, numbers become null, the rest keeps its bytes."""
    assert mask_json(text.encode(), PLAN) == masked.encode()


def test_untouched_json_is_the_same_object() -> None:
    """No hit, no copy."""
    text = b'{"a": [1, 2, {"b": null}]}'
    assert mask_json(text, PLAN) is text


def test_null_takes_the_whole_document() -> None:
    """A value cannot be partly NULL."""
    assert mask_json(b'{"to": "a@b.example"}', Detection({"email": "null"})) is None


def test_text_that_is_not_json_is_an_error() -> None:
    """What cannot be read cannot be masked: the caller withholds it."""
    with pytest.raises(ValueError, match="not JSON at byte 8"):
        mask_json(b'{"a": 1 x@y.example}', PLAN)


documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["a@b.example", CARD]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.just("a@b.example"), inner, max_size=4),
    max_leaves=12,
)


@given(documents, st.booleans())
def test_what_comes_out_is_json_without_the_hits(document: object, ascii_only: bool) -> None:
    """Any document stays readable, and no string in it keeps an address or a card."""
    text = json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    masked = mask_json(text, PLAN)
    assert masked is not None
    again = json.dumps(json.loads(masked), ensure_ascii=False)
    assert "a@b.example" not in again
    assert CARD not in again
