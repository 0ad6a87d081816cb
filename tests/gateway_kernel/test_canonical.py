"""Canonical bytes: one form for one value."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_kernel.canonical import canonical

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_it_is_json_and_says_the_same(value: object) -> None:
    """A reader of plain JSON gets the value back."""
    assert json.loads(canonical(value)) == value


@given(st.dictionaries(st.text(), st.integers(0, 9)))
def test_the_order_of_keys_does_not_matter(value: dict[str, int]) -> None:
    """Two dicts that are equal have the same bytes."""
    assert canonical(value) == canonical(dict(reversed(value.items())))


def test_keys_are_sorted_as_rfc_8785_says() -> None:
    """The example of RFC 8785, section 3.2.3: UTF-16 code units, not code points."""
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\x80", "\u00f6"]
    found = list(
        json.loads(canonical(dict.fromkeys(keys, 0)), object_pairs_hook=lambda pairs: [key for key, _ in pairs])
    )
    assert found == ["\r", "1", "\x80", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


@pytest.mark.parametrize("value", [1.0, 2**53, -(2**53), b"bytes", {1: 2}, "\ud800", object()])
def test_what_has_no_exact_form_is_refused(value: object) -> None:
    """Nothing is rounded, coerced or replaced."""
    with pytest.raises((ValueError, TypeError, AttributeError)):
        canonical(value)
