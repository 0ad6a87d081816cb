"""Absolute URLs of the upstream inside a body become the edge's."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.protocols.http.links import Links, LinkSink
from tests.gateway_kernel.masking.chunks import CUTS, same_for_every_split

LINKS = Links("https://billing.internal", "https://edge.example:8080/billing")
PORT = Links("http://Billing.internal:8000", "https://edge.example/billing/")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://billing.internal", "E"),
        ("https://billing.internal/a?b", "E/a?b"),
        ("see HTTPS://Billing.Internal.", "see E."),
        ("https://billing.internal:443/x", "E/x"),
        ("(https://billing.internal)(https://billing.internal:443)", "(E)(E)"),
        (r'"https:\/\/billing.internal\/x"', r'"X\/x"'),
        ("https://billing.internal: moved", "E: moved"),
        ("https://billing.internal?x#y", "E?x#y"),
        ("https://billing.internal https://billing.internal,https://billing.internal", "E E,E"),
    ],
)
def test_the_origin_is_replaced(text: str, expected: str) -> None:
    """In any case, with the default port, with slashes as JSON may escape them, wherever a URL may end."""
    base = "https://edge.example:8080/billing"
    expected = expected.replace("E", base).replace("X", base.replace("/", r"\/"))
    assert same_for_every_split(lambda: LinkSink(LINKS), text.encode(), (3, 9, 25)) == (expected.encode(), True)


@pytest.mark.parametrize(
    "text",
    [
        "https://billing.internal.evil.example/", "https://billing.internal-x", "https://billing.internal:8443/", "https://billing.internal:4430/",
        "http://billing.internal/", "https://billing.internal@evil.example", "https://billing.internal:443@evil.example",
        "https://billing.internal:pw@evil.example", "xhttps://billing.internal", "https://user@billing.internal/", "https://xbilling.internal",
        r"https:\//billing.internal", "https:/billing.internal", "https://billing.interna", "billing.internal", "https://https://billing.internals",
        "https://billing.internal_x", "https%3A%2F%2Fbilling.internal",
    ],
)  # fmt: skip
def test_another_origin_is_left_alone(text: str) -> None:
    """What only looks like it leads elsewhere, and is not the edge's to change."""
    assert same_for_every_split(lambda: LinkSink(LINKS), text.encode(), (3, 9, 25)) == (text.encode(), True)


def test_a_port_belongs_to_the_origin() -> None:
    """Two ports of one host are two services."""
    text = b"http://billing.internal:8000/x http://billing.internal/x http://billing.internal:80001 http://billing.internal:8000."
    out = b"https://edge.example/billing/x http://billing.internal/x http://billing.internal:80001 https://edge.example/billing."
    assert same_for_every_split(lambda: LinkSink(PORT), text, (3, 30)) == (out, True)
    assert Links("http://[::1]:8000", "https://edge/x").replaced(b"<http://[::1]:8000/>") == b"<https://edge/x/>"


def test_equal_origins_need_nothing() -> None:
    """The agent then is where the URLs lead."""
    assert Links("https://edge.example/", "https://Edge.example").same
    assert not LINKS.same


parts = st.lists(
    st.sampled_from(
        ["https", ":", "//", r"\/\/", "billing", ".internal", ".", ":443", ":4", "3", "h", "ht", "@", " ", "/", "x", "HTTPS://", "https://billing.internal"]
    ),
    max_size=12,
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(parts, CUTS)
def test_no_split_changes_the_output(pieces: list[str], cuts: list[int]) -> None:
    """Invariant 9; a sink gives what a look at the whole gives, and holds no more than one origin."""
    text = "".join(pieces).encode()
    for links in (LINKS, PORT):
        out, _ = same_for_every_split(lambda: LinkSink(links), text, cuts)  # noqa: B023 - called at once
        assert out == links.replaced(text)
    sink = LinkSink(LINKS)
    for at in range(len(text)):
        sink.feed(text[at : at + 1])
        assert sink.held <= len(r"https:\/\/billing.internal:443.")


def test_an_event_is_not_held_back() -> None:
    """Only what may still become a URL waits."""
    sink = LinkSink(LINKS)
    assert sink.feed(b"data: https://billing.internal/x\n\n").endswith(b"/x\n\n")
    assert sink.feed(b"data: see https://billing.int") == b"data: see "
    assert sink.finish() == b"https://billing.int"
