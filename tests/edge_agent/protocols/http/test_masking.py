"""What becomes of a response's body and headers: which masker reads it, what is withheld, what of the head no longer holds."""

import gzip
import json
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.detection import detection
from edge_agent.protocols.http.links import Links
from edge_agent.protocols.http.masking import BodyPlan, MessageMask, masked_headers, plan
from gateway_kernel.errors import UnmaskableError
from gateway_kernel.masking.strategies import MaskingKeys
from gateway_kernel.verdict import ColumnMask, DetectMask, Obligations
from tests.gateway_kernel.masking.chunks import CUTS, cut

DETECT = (DetectMask(("email", "credit_card", "secret"), "redact"),)
COLUMNS = (ColumnMask(("customers.email", "*.ssn"), "redact"),)
DETECTING = Obligations(detect=DETECT)
HIDING = Obligations(columns=COLUMNS)
BOTH = Obligations(columns=COLUMNS, detect=DETECT)
LINKS = Links("https://billing.internal", "https://edge.example/billing")
CARD = "4111111111111111"
ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}


def planned(kind: str, obligations: Obligations | None = BOTH, links: Links | None = None, **more: str) -> BodyPlan:
    """The plan for a response of this Content-Type, and other headers."""
    headers = (("Content-Type", kind), *((name.replace("_", "-"), value) for name, value in more.items()))
    return plan(200, headers, obligations, None, links)


def through(made: BodyPlan, chunks: list[bytes]) -> tuple[bytes, bool]:
    """What the agent gets of a body, and whether it ends well."""
    assert made.sink is not None
    out: list[bytes] = []
    try:
        for chunk in chunks:
            out += made.sink.feed(chunk)
        out += made.sink.finish()
    except UnmaskableError:
        return b"".join(out), False
    return b"".join(out), True


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("application/json", '{"ssn": 1, "a": "a@b.example"}', '{"ssn": null, "a": "***"}'),
        ("application/problem+json; charset=UTF-8", '{"ssn": 1}', '{"ssn": null}'),
        ('application/json; charset="utf-8"', '{"ssn": 1}\n{"ssn": 2}\n', '{"ssn": null}\n{"ssn": null}\n'),
        ("APPLICATION/JSON", '{"ssn": 1}', '{"ssn": null}'),
        ("application/x-ndjson", '{"ssn": 1}\n', '{"ssn": null}\n'),
        ("application/json-seq", '\x1e{"ssn": 1}\n', '\x1e{"ssn": null}\n'),
        ("text/event-stream", 'data: {"ssn": 1}\n\n', 'data: {"ssn": null}\n\n'),
        ("text/plain", "to a@b.example\n", "to ***\n"),
        ("application/atom+xml", "<a>a@b.example</a>", "<a>***</a>"),
        ("text/html; charset=iso-8859-1", "<a>a@b.example</a>", "<a>***</a>"),
        ("application/x-www-form-urlencoded", "to=a%40b.example&x=1", "to=***&x=1"),
    ],
)
def test_each_kind_of_body_has_its_masker(kind: str, body: str, expected: str) -> None:
    """The media type says how a body is read."""
    assert through(planned(kind), [body.encode()]) == (expected.encode(), True)


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"kind": "image/png"}, "image/png, which is not read"),
        ({"kind": "application/octet-stream"}, "not read"),
        ({"kind": ""}, "more than one way"),
        ({"kind": "application/json, text/plain"}, "more than one way"),
        ({"kind": "multipart/mixed; boundary=x"}, "several parts"),
        ({"kind": "multipart/byteranges; boundary=x"}, "part of a content"),
        ({"kind": "application/json", "Content_Range": "bytes 0-1/2"}, "part of a content"),
        ({"kind": "application/json", "Content_Encoding": "compress"}, "content coding compress"),
        ({"kind": "application/json", "Content_Encoding": "gzip, aes128gcm"}, "content coding gzip, aes128gcm"),
        ({"kind": "application/json; charset=utf-16"}, "character set utf-16"),
        ({"kind": "application/json; charset=utf-8; charset=utf-7"}, "character set utf-7"),
        ({"kind": "text/html; Charset = 'shift_jis'"}, "character set shift_jis"),
        ({"kind": "text/csv"}, "need not name them"),
    ],
)
def test_what_cannot_be_read_is_withheld(headers: dict[str, str], why: str) -> None:
    """While anything is to be hidden, what nobody here can read does not go."""
    made = planned(**headers)  # pyright: ignore[reportArgumentType] - all of them are strings
    assert why in made.withheld
    assert made.sink is None


def test_a_part_of_a_content_is_withheld() -> None:
    """A range may begin in the middle of what is to be hidden."""
    assert "part of a content" in plan(206, (("Content-Type", "text/plain"),), DETECTING, None).withheld


def test_two_content_types_are_withheld() -> None:
    """A reader may take either."""
    headers = (("Content-Type", "image/png"), ("content-type", "application/json"))
    assert "more than one way" in plan(200, headers, BOTH, None).withheld


def test_csv_is_masked_by_detectors_where_no_member_is_hidden() -> None:
    """Detectors need no names."""
    assert through(planned("text/csv", DETECTING), [b"1,a@b.example\n"]) == (b"1,***\n", True)


def test_text_that_names_a_hidden_member_is_broken_off() -> None:
    """XML in place of JSON is no way round a mask."""
    out, whole = through(planned("application/xml", HIDING), [b"<x>\n<customer>\n<email>a@b.example</email>"])
    assert (out, whole) == (b"<x>\n<customer>\n", False)
    assert through(planned("text/plain", HIDING), [b"404 not found\n"]) == (b"404 not found\n", True)


def test_binary_passes_where_every_mask_says_so() -> None:
    """Then untouched, whatever its coding."""
    passing = Obligations(detect=DETECT, pass_binary=True)
    assert planned("image/png", passing, Content_Encoding="compress") == BodyPlan()
    assert planned("application/json", passing).sink is not None


def test_where_nothing_masks_the_body_goes_untouched() -> None:
    """No reading, no dropped headers, for any kind."""
    for obligations in (None, Obligations()):
        assert planned("application/json", obligations) == BodyPlan()
        assert planned("image/png", obligations, Content_Encoding="compress") == BodyPlan()


def test_a_strategy_without_its_key_withholds() -> None:
    """It cannot be carried out; the agent is told, and gets nothing."""
    for obligations in (
        Obligations(detect=(DetectMask(("email",), "hash"),)),
        Obligations(columns=(ColumnMask(("a.b",), "token"),)),
    ):
        assert "needs masking keys" in planned("application/json", obligations).withheld
        keys = MaskingKeys.derive(b"a secret for these tests only")
        assert plan(200, (("Content-Type", "text/plain"),), obligations, keys).sink is not None


def test_headers_that_spoke_of_another_body_are_dropped() -> None:
    """A length, a coding or a digest of what the agent does not get would be a lie."""
    dropped = planned("application/json").dropped
    assert {
        "content-length",
        "content-encoding",
        "etag",
        "content-md5",
        "digest",
        "repr-digest",
        "accept-ranges",
    } <= dropped
    relinked = planned("application/json", None, LINKS).dropped
    assert "etag" not in relinked
    assert "content-length" in relinked
    assert "content-encoding" not in relinked


def test_a_response_without_a_body_is_never_withheld() -> None:
    """HEAD has nothing to withhold, and tells nothing of the length of what GET would not give."""
    made = plan(200, (("Content-Type", "image/png"),), BOTH, None, body=False)
    assert made.withheld == ""
    assert "content-length" in made.dropped
    made = plan(204, (), BOTH, None, body=False)
    assert (made.withheld, made.sink) == ("", None)


documents = st.lists(
    st.fixed_dictionaries(
        {
            "customers": st.lists(
                st.fixed_dictionaries({"email": st.text(max_size=3).map("canary-".__add__)}), max_size=3
            ),
            "note": st.sampled_from(["a@b.example", f"card {CARD}", "https://billing.internal/x", "plain é"]),
            "n": st.integers() | st.just(int(CARD)),
        }
    ),
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(documents, st.booleans(), st.sampled_from([None, 2]), st.sampled_from(sorted(ENCODERS)), CUTS)
def test_neither_chunks_nor_codings_change_what_the_agent_gets(
    document: object, ascii_only: bool, indent: int | None, coding: str, cuts: list[int]
) -> None:
    """Invariant 9 over the whole way of a body: decoded, masked, relinked."""
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    whole, well = through(planned("application/json", BOTH, LINKS), [text])
    assert well
    for canary in (b"canary-", b"a@b.example", CARD.encode(), b"billing.internal"):
        assert canary not in whole
    json.loads(whole)
    encoded = ENCODERS[coding](text)
    assert through(planned("application/json", BOTH, LINKS, Content_Encoding=coding), cut(encoded, cuts)) == (
        whole,
        True,
    )
    single = [encoded[at : at + 1] for at in range(len(encoded))]
    assert through(planned("application/json", BOTH, LINKS, Content_Encoding=coding), single) == (whole, True)


@pytest.mark.parametrize("coding", [each for each in ENCODERS if each])
def test_a_body_cut_short_is_broken_off(coding: str) -> None:
    """The agent must not take the beginning for everything; nothing that was held is given out."""
    encoded = ENCODERS[coding](b'{"ssn": 1}\n{"a": 2}\n')
    made = planned("application/json", BOTH, Content_Encoding=coding)
    out, whole = through(made, [encoded[:-3]])
    assert not whole
    assert b"1" not in out
    assert made.sink is not None
    with pytest.raises(UnmaskableError):
        made.sink.finish()


def test_counts_are_the_masker_s() -> None:
    """The recording learns how much was hidden."""
    made = planned("application/json")
    through(made, [b'{"ssn": 1, "a": "a@b.example"}'])
    assert made.sink is not None
    assert made.sink.counts == {"columns": 1, "email": 1}


def test_links_are_relinked_where_nothing_masks() -> None:
    """Bodies that can be read and may hold URLs, decoded if need be; others go untouched."""
    text = b'{"next": "https://billing.internal/2"}'
    relinked = b'{"next": "https://edge.example/billing/2"}'
    assert through(planned("application/json", None, LINKS), [text]) == (relinked, True)
    coded = planned("text/html", None, LINKS, Content_Encoding="gzip")
    assert through(coded, [gzip.compress(text)]) == (relinked, True)
    assert "content-encoding" in coded.dropped
    for kind, more in (("image/png", ""), ("text/html; charset=utf-16", ""), ("text/html", "compress")):
        assert planned(kind, None, LINKS, Content_Encoding=more) == BodyPlan()
    assert planned("text/html", None, Links("https://a.example", "https://a.example")) == BodyPlan()
    assert plan(206, (("Content-Type", "text/html"),), None, None, LINKS) == BodyPlan()


def test_header_values_are_masked() -> None:
    """By detectors, with the name as context; framing and sealed cookies stay."""
    found = detection(DETECT, None)
    assert found is not None
    headers = (
        ("X-User", "a@b.example"),
        ("X-Api-Key", "9f8e7d6c5b4a"),
        ("Content-Length", CARD),
        ("Set-Cookie", "token=9f8e7d6c5b4a"),
        ("X-Plain", "caf\xe9"),
    )
    expected = (("X-User", "***"), ("X-Api-Key", "***"), *headers[2:])
    assert masked_headers(headers, found) == expected
    null = detection((DetectMask(("email",), "null"),), None)
    assert null is not None
    assert masked_headers((("Warning", "to a@b.example now"),), null) == (("Warning", "to  now"),)


def test_messages_of_a_web_socket_are_masked() -> None:
    """Text as JSON or text; binary only where every mask lets it pass."""
    mask = MessageMask(BOTH, None)
    assert mask.masked(b'{"ssn": 1}', True) == b'{"ssn": null}'
    assert mask.masked(b"a@b.example", True) == b"***"
    assert mask.counts == {"columns": 1, "email": 1}
    with pytest.raises(UnmaskableError, match="binary"):
        mask.masked(b"\x00", False)
    assert MessageMask(Obligations(detect=DETECT, pass_binary=True), None).masked(b"\x00", False) == b"\x00"
    for nothing in (None, Obligations()):
        assert MessageMask(nothing, None).masked(b"a@b.example", True) == b"a@b.example"
