"""Path ends of column masks, as a walk over names."""

import pytest

from gateway_kernel.masking.members import Members
from gateway_kernel.verdict import ColumnMask, Strategy


def walk(members: Members, *names: str) -> Strategy | None:
    """What is hidden of the member at the end of these names."""
    state = members.root
    for name in names:
        state = state.step(name)
    return state.strategy


MEMBERS = Members(
    (
        ColumnMask(("customers.email", "$.top", "*.ssn", "a.b.a.c"), "partial"),
        ColumnMask(("customers.*", "x.*.z"), "redact"),
        ColumnMask(("Customers.Email",), "null"),
    )
)


@pytest.mark.parametrize(
    ("names", "strategy"),
    [
        (("customers", "email"), "null"),
        (("data", "CUSTOMERS", "EMAIL"), "null"),
        (("customers", "name"), "redact"),
        (("customers", "name", "first"), None),
        (("customers", "customers", "email"), "null"),
        (("email",), None),
        (("top",), "partial"),
        (("data", "top"), None),
        (("$", "top"), None),
        (("ssn",), "partial"),
        (("q", "ssn"), "partial"),
        (("a", "b", "a", "b", "a", "c"), "partial"),
        (("a", "b", "b", "a", "c"), None),
        (("x", "y", "z"), "redact"),
        (("x", "x", "y", "z"), "redact"),
        (("x", "z"), None),
    ],
)
def test_a_member_is_hidden_by_the_end_of_its_path(names: tuple[str, ...], strategy: Strategy | None) -> None:
    """At any depth, in any case; the stricter of two masks holds; `$` is the document, not a name."""
    assert walk(MEMBERS, *names) == strategy


def test_a_mask_without_a_name_is_an_error() -> None:
    """It would hide nothing."""
    with pytest.raises(ValueError, match="does not name a member"):
        Members((ColumnMask(("customers.",), "redact"),))
    with pytest.raises(ValueError, match="needs masking keys"):
        Members((ColumnMask(("customers.email",), "hash"),))


@pytest.mark.parametrize(
    ("text", "named"),
    [(b"id,email\n", True), (b"<Email>", True), (b"an e-mail", False), (b"customer_email", False), (b"ssns", False), (b"(SSN)", True)],
)  # fmt: skip
def test_text_that_speaks_of_a_hidden_member_is_known(text: bytes, named: bool) -> None:
    """Whole words, by the last part of the name."""
    assert (Members((ColumnMask(("customers.email", "*.ssn"), "redact"),)).named(text) >= 0) is named
    assert Members((ColumnMask(("customers.*",), "redact"),)).named(text) == 0
