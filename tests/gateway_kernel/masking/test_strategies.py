"""What each strategy leaves of a value, and what the keys do not show."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_kernel.masking.strategies import MaskingKeys, apply, partial, require_keys, stricter

KEYS = MaskingKeys(b"h" * 32, b"t" * 64)


@pytest.mark.parametrize(
    ("value", "left"),
    [
        (b"jane.doe@example.com", b"***@example.com"),
        (b"4111111111111111", b"***1111"),
        (b"short", b"***"),
        (b"", b"***"),
        (b"12345678", b"***5678"),
        ("Владимир".encode(), "***имир".encode()),
        ("Иван".encode(), b"***"),
        (b"a@b c d secret words", b"***ords"),
        (b"secret@localhost", b"***host"),
        (b"\xff" * 8, b"***" + b"\xff" * 4),
        (b"\x80" * 20, b"***"),
    ],
)
def test_partial_leaves_the_domain_or_the_last_four(value: bytes, left: bytes) -> None:
    """A short value shows nothing, and a character is never cut in two."""
    assert partial(value) == left


def test_each_strategy_on_one_value() -> None:
    """null, redact, partial need no key; hash and token do."""
    assert apply("null", b"jane@example.com", None) is None
    assert apply("redact", b"jane@example.com", None) == b"***"
    assert apply("partial", b"jane@example.com", None) == b"***@example.com"
    hashed = apply("hash", b"jane@example.com", KEYS)
    assert hashed == apply("hash", b"jane@example.com", KEYS)
    assert hashed != apply("hash", b"jane@example.com", MaskingKeys(b"x" * 32, b"t" * 64))
    for strategy in ("hash", "token"):
        with pytest.raises(ValueError, match="needs masking keys"):
            require_keys(strategy, None)
        with pytest.raises(ValueError, match="needs masking keys"):
            apply(strategy, b"x", None)


@given(st.binary(max_size=200))
def test_a_token_is_deterministic_and_comes_back_only_with_its_key(value: bytes) -> None:
    """`untoken` is the edge's way back; another key, or a changed token, gets an error."""
    token = KEYS.token(value)
    assert token.startswith(b"tok_")
    assert token == KEYS.token(value)
    assert KEYS.untoken(token) == value
    with pytest.raises(ValueError, match="not a token made with this key"):
        MaskingKeys(b"h" * 32, b"u" * 64).untoken(token)
    with pytest.raises(ValueError, match="not a token"):
        KEYS.untoken(token[:-4] + b"AAAA" if not token.endswith(b"AAAA") else token[:-4] + b"BBBB")


def test_keys_show_nothing_of_themselves() -> None:
    """Not in a repr, not in a pickle, and a weak key is refused."""
    assert repr(KEYS) == "MaskingKeys(...)"
    assert not hasattr(KEYS, "__dict__")
    with pytest.raises(TypeError):
        pickle.dumps(KEYS)
    with pytest.raises(ValueError, match="shorter than 16"):
        MaskingKeys(b"short", b"t" * 64)
    with pytest.raises(ValueError, match="32, 48 or 64"):
        MaskingKeys(b"h" * 32, b"t" * 33)
    with pytest.raises(ValueError, match="shorter than 16"):
        MaskingKeys.derive(b"short")


def test_stricter_follows_the_policy_language() -> None:
    """null > redact > hash > token > partial."""
    order = ("null", "redact", "hash", "token", "partial")
    for i, a in enumerate(order):
        for j, b in enumerate(order):
            assert stricter(a, b) == order[min(i, j)]
