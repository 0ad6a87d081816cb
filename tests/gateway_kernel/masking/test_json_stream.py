"""JSON masked as it streams: by member, by detector, whatever the chunks and whatever the escapes."""

import json
from typing import cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway_kernel.errors import UnmaskableError
from gateway_kernel.masking import json_stream
from gateway_kernel.masking.json_stream import DEEPEST, LONGEST, JsonMasker
from gateway_kernel.masking.json_text import mask_json
from gateway_kernel.masking.masker import Detection
from gateway_kernel.masking.members import Members
from gateway_kernel.masking.strategies import MaskingKeys
from gateway_kernel.verdict import ColumnMask, Strategy

from .chunks import CUTS, cut, same_for_every_split, stream

KEYS = MaskingKeys.derive(b"a secret for these tests only")
PLAN = Detection({"email": "redact", "credit_card": "partial", "secret": "redact"})
CARD = "4111111111111111"
MEMBERS = Members((ColumnMask(("customers.email", "*.ssn", "$.top", "vault.*"), "redact"),))


def masked(text: str | bytes, detection: Detection | None = PLAN, members: Members | None = None) -> str:
    """The whole text masked at once, and byte by byte with the same result."""
    data = text.encode() if isinstance(text, str) else text
    out, whole = same_for_every_split(lambda: JsonMasker(detection, members), data, ())
    assert whole
    return out.decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"to": "a@b.example", "n": 1.50}', '{"to": "***", "n": 1.50}'),
        (r'{"to": "a\u0040b.example"}', '{"to": "***"}'),
        (r'{"to": "\u0061@b\u002eexample"}', '{"to": "***"}'),
        (r'{"to": "http:\/\/a@b.example\/"}', '{"to": "http://***/"}'),
        (r'{"to": "\ud83d\ude00 a\u0040b.example"}', '{"to": "😀 ***"}'),
        (r'{"to": "\ud83d a@b.example"}', '{"to": "��� ***"}'),
        ('{"a@b.example": 1, "a@b.example": 2}', '{"***": 1, "***": 2}'),
        (r'{"a\u0040b.example": 1}', '{"***": 1}'),
        (f'{{"card": {CARD}}}', '{"card": null}'),
        (f'[[[ "{CARD}" , 12 ]]]', '[[[ "***1111" , 12 ]]]'),
        (f"{CARD}", "null"),
        ('{"password": "hunter2-or-3"}', '{"password": "***"}'),
        (r'{"pass\u0077ord": "hunter2-or-3"}', '{"pass\\u0077ord": "***"}'),
        (r'{"password": "hunter2\u002dor-3"}', '{"password": "***"}'),
        ('{"password": "hunter2-or-3;a@b.example"}', '{"password": "***;***"}'),
        (r'{"password": "hunter2-or-3;\/a@b.example"}', '{"password": "***"}'),
        (r'{"path": "C:\\dir", "x": "\u00e9"}', r'{"path": "C:\\dir", "x": "\u00e9"}'),
        ('"a@b.example"', '"***"'),
        ('\ufeff {"a": "a@b.example"}\r\n', '\ufeff {"a": "***"}\r\n'),
        (f'{{"a":{{"b":["{CARD[:4]}",{{"c":"a@b.example"}}]}}}}', f'{{"a":{{"b":["{CARD[:4]}",{{"c":"***"}}]}}}}'),
    ],
)
def test_hits_are_hidden_inside_the_tokens(text: str, expected: str) -> None:
    """Strings keep their quotes, numbers become null, the rest keeps its bytes; escapes hide nothing."""
    assert masked(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"customers": {"email": "x", "id": 1}}', '{"customers": {"email": "***", "id": 1}}'),
        ('{"customers": [{"email": "x"}, {"email": "y"}]}', '{"customers": [{"email": "***"}, {"email": "***"}]}'),
        ('{"customers": [[{"email": "x"}]]}', '{"customers": [[{"email": "***"}]]}'),
        ('{"data": {"customers": {"email": "x"}}}', '{"data": {"customers": {"email": "***"}}}'),
        ('{"customers": {"a": {"email": "x"}}, "email": "y"}', '{"customers": {"a": {"email": "x"}}, "email": "y"}'),
        (r'{"customers": {"\u0065mail": "x"}}', r'{"customers": {"\u0065mail": "***"}}'),
        (r'{"cust\u006fmers": {"EMail": "x"}}', r'{"cust\u006fmers": {"EMail": "***"}}'),
        ('{"customers": {"email": "x", "email": "y"}}', '{"customers": {"email": "***", "email": "***"}}'),
        ('{"ſsn": 1}', '{"ſsn": null}'),
        ('{"ssn": 12}', '{"ssn": null}'),
        ('{"ssn": true, "a": {"ssn": null}}', '{"ssn": null, "a": {"ssn": null}}'),
        ('{"ssn": {"deep": [1, {"x": "}"}]}, "b": 2}', '{"ssn": null, "b": 2}'),
        ('{"ssn": [] , "b": [ ]}', '{"ssn": null , "b": [ ]}'),
        ('{"ssn" \n:\t"1"}', '{"ssn" \n:\t"***"}'),
        ('{"top": 1, "a": {"top": 2}}', '{"top": null, "a": {"top": 2}}'),
        ('[{"top": 1}]', '[{"top": null}]'),
        ('{"vault": {"a": "1", "b": {"c": 2}}, "c": 3}', '{"vault": {"a": "***", "b": null}, "c": 3}'),
        ('{"vault": ["x", {"a": 1}]}', '{"vault": ["x", {"a": null}]}'),
        ('[1, {"a": [{"b": {"ssn": "q"}}]}]', '[1, {"a": [{"b": {"ssn": "***"}}]}]'),
        ('{"ssn": ""}', '{"ssn": "***"}'),
    ],
)
def test_members_are_hidden_by_the_end_of_their_path(text: str, expected: str) -> None:
    """Arrays are transparent, case and escapes of a name do not matter; what is no string becomes null."""
    assert masked(text, None, MEMBERS) == expected
    assert masked(text, Detection({"credit_card": "redact"}), MEMBERS) == expected


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [("null", "null"), ("redact", '"***"'), ("partial", '"***@b.example"'), ("hash", None), ("token", None)],
)
def test_each_strategy_does_its_part(strategy: Strategy, expected: str | None) -> None:
    """The same value gives the same hash and token wherever it stands, and however it is written."""
    members = Members((ColumnMask(("*.email",), strategy),), KEYS)
    one = masked('{"email": "a@b.example"}', None, members)
    other = masked(r'{"email": "a\u0040b.example"}', None, members)
    assert one == other
    assert expected is None or one == f'{{"email": {expected}}}'


def test_a_detector_makes_a_hidden_member_stricter() -> None:
    """A member that would show its end shows nothing if a detector in it asks for more."""
    members = Members((ColumnMask(("*.note",), "partial"),))
    text = f'{{"note": "{CARD}"}}'
    assert masked(text, Detection({"credit_card": "null"}), members) == '{"note": null}'
    assert masked(text, None, members) == '{"note": "***1111"}'


def test_null_is_for_the_string_that_was_hit() -> None:
    """Other than in a database the document goes on; a key cannot be null."""
    subject = JsonMasker(Detection({"email": "null"}))
    assert subject.feed(b'{"to": "hi a@b.example", "a@b.example": 1}') + subject.finish() == b'{"to": null, "***": 1}'
    assert subject.nulled


def test_counts_say_what_was_hidden() -> None:
    """Members are counted as columns are; what is inside a hidden value is not counted again."""
    subject = JsonMasker(PLAN, MEMBERS)
    subject.feed(b'{"ssn": {"x": "a@b.example"}, "vault": {"k": 1}, "to": "a@b.example"}')
    subject.finish()
    assert subject.counts == {"columns": 2, "email": 1}


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1 x@y.example}', '{"a" "b"}', '{"a": 1,}', "[1,]", "[1 2]", '{"a": 01}', '{"a": +1}', '{"a": .5}', '{"a": 1.}', "[NaN]", "{1: 2}",
        "{'a': 1}",
        '{"a": "\x01"}', '{"a": "\n"}', r'{"a": "\x41"}', r'{"a": "\u00g1"}', '[1}', '{"a": [1}', "]", "{", "[",
        '{"a"', '{"a":', '{"a": tru',
        '"abc', '"abc\\', "[1", "1 2", "{} {}", "nul", "truex", "// c\n{}", "[/**/]", "\u00a0{}",
        "1e5e5", "-", '{"a": 1}}', "\ufeff\ufeff{}", "{,}", "[,1]",
    ],
)  # fmt: skip
@pytest.mark.parametrize("detection", [None, PLAN])
def test_what_is_not_json_is_an_error(text: str, detection: Detection | None) -> None:
    """Two readers could take it for different things. The error is the same for any chunks, and every further call gives it."""
    _, whole = same_for_every_split(lambda: JsonMasker(detection, MEMBERS), text.encode(), ())
    assert not whole
    subject = JsonMasker(detection, MEMBERS)
    assert stream(subject, [text.encode()])[1] is False
    with pytest.raises(UnmaskableError):
        subject.feed(b" ")
    with pytest.raises(UnmaskableError):
        subject.finish()


def test_utf_16_is_not_taken_for_json() -> None:
    """A reader that guesses encodings would see members where this one sees none."""
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        assert not stream(JsonMasker(PLAN, MEMBERS), ['{"ssn": "1"}'.encode(encoding)])[1]


def test_nothing_behind_an_error_is_given_out() -> None:
    """What was good may have gone; what could not be read never goes."""
    text = b'{"a": 1,\n"b": oops, "ssn": "078-05-1120"}'
    out, whole = same_for_every_split(lambda: JsonMasker(None, MEMBERS), text, (3, 9, 12))
    assert (out, whole) == (b'{"a": 1,\n', False)


def test_an_empty_text_is_whole() -> None:
    """A body without a byte has nothing to hide."""
    assert masked("") == ""
    assert masked(" \r\n") == " \r\n"


documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["a@b.example", CARD, int(CARD), "\ud83d", "q\\", 'hunter2-"or-3', "api_key=9f8e7d6c5b4a"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.sampled_from(["a@b.example", "password", "ssn", "customers", "email"]), inner, max_size=5)
    ),
    max_leaves=16,
)  # fmt: skip
layouts = st.sampled_from([(None, (", ", ": ")), (None, (",", ":")), (1, (",", ": ")), (2, (" ,", " :\t"))])


def written(document: object, ascii_only: bool, layout: tuple[int | None, tuple[str, str]]) -> bytes:
    """The document as JSON, in one of many ways."""
    indent, separators = layout
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent, separators=separators)
    return text.encode("utf-8", "surrogatepass")


@settings(max_examples=300, deadline=None)
@given(documents, st.booleans(), layouts, CUTS)
def test_no_split_changes_the_output(
    document: object, ascii_only: bool, layout: tuple[int | None, tuple[str, str]], cuts: list[int]
) -> None:
    """Invariant 9, and what comes out is what masking the parsed document would give."""
    text = written(document, ascii_only, layout)
    same_for_every_split(lambda: JsonMasker(PLAN), text, cuts)
    same_for_every_split(lambda: JsonMasker(PLAN, MEMBERS), text, cuts)
    out, whole = same_for_every_split(lambda: JsonMasker(None, MEMBERS), text, cuts)
    assert whole
    assert json.loads(out) == json.loads(json.dumps(hidden(json.loads(text), ("$",))).encode("utf-8", "replace"))


def hidden(value: object, path: tuple[str, ...]) -> object:
    """A second, plain way to hide the members of MEMBERS: in the parsed document."""
    if isinstance(value, list):
        return [hidden(each, path) for each in cast("list[object]", value)]
    if not isinstance(value, dict):
        return value
    out: dict[str, object] = {}
    for key, inner in cast("dict[str, object]", value).items():
        here = (*path, key.casefold())
        if here[-2:] in (("customers", "email"), ("$", "top")) or here[-1] == "ssn" or here[-2] == "vault":
            out[key] = "***" if isinstance(inner, str) else None
        else:
            out[key] = hidden(inner, here)
    return out


@settings(max_examples=300, deadline=None)
@given(documents, st.booleans(), layouts)
def test_detectors_find_in_a_stream_what_they_find_in_the_whole(
    document: object, ascii_only: bool, layout: tuple[int | None, tuple[str, str]]
) -> None:
    """`json_text` and `json_stream` are two readers of one mind."""
    text = written(document, ascii_only, layout)
    assert stream(JsonMasker(PLAN), [text]) == (mask_json(text, PLAN), True)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from([*'{}[]:," \\\n', '"a"', "1", "-", "1e5", ".", "true", "nul", '"ssn"', "\\u0041", "a@b.example", "é", "\x00"]),
        max_size=14,
    ),
    CUTS,
)  # fmt: skip
@example(['"a"', ","], [])
def test_exactly_json_is_accepted(parts: list[str], cuts: list[int]) -> None:
    """What the standard library reads, and nothing else; with and without detectors, for any split."""
    text = "".join(parts)
    try:
        json.loads(text)
        valid = True
    except ValueError:
        valid = not text.strip(" \n")
    for detection, members in ((None, None), (PLAN, None), (None, MEMBERS)):
        _, whole = same_for_every_split(lambda: JsonMasker(detection, members), text.encode(), cuts)  # noqa: B023 - called at once
        assert whole is valid


@settings(max_examples=100, deadline=None)
@given(documents, st.booleans(), layouts, CUTS)
def test_no_split_changes_the_output_at_small_bounds(
    document: object, ascii_only: bool, layout: tuple[int | None, tuple[str, str]], cuts: list[int]
) -> None:
    """The same with bounds so small that every text meets them."""
    text = written(document, ascii_only, layout)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "LONGEST", 24)
        patch.setattr(json_stream, "DEEPEST", 3)
        patch.setattr(json_stream, "_FARTHEST", 24)
        patch.setattr(json_stream, "_PIECE", 17)
        same_for_every_split(lambda: JsonMasker(PLAN), text, cuts)
        same_for_every_split(lambda: JsonMasker(None, MEMBERS), text, cuts)


def test_what_is_too_long_or_too_deep_is_an_error() -> None:
    """Bounds that no ordinary API meets, and that keep the memory of the edge its own."""
    fits = b'["' + b"x" * (LONGEST - 2) + b'"]'
    assert stream(JsonMasker(PLAN), [fits]) == (fits, True)
    assert stream(JsonMasker(PLAN), [fits[:-2] + b'x"]']) == (b"[", False)
    assert stream(JsonMasker(None), cut(fits[:-2] + b'x"]', range(0, LONGEST, 70_000))) == (b"[", False)
    deep = b"[" * DEEPEST + b"]" * DEEPEST
    assert stream(JsonMasker(PLAN), [deep]) == (deep, True)
    assert stream(JsonMasker(None), [b"[" + deep + b"]"]) == (b"[" * DEEPEST, False)
    assert not stream(JsonMasker(PLAN), [b"[" + deep + b"]"])[1]
    muted = b'{"ssn":' + b"[" * DEEPEST + b"]" * DEEPEST + b"}"
    assert not stream(JsonMasker(None, MEMBERS), [muted])[1]


@pytest.mark.parametrize("detection", [None, PLAN])
def test_a_large_document_is_not_held(detection: Detection | None) -> None:
    """50 MB on one line, and a hidden member of 10 MB: what is held stays below a segment and its look-ahead."""
    record = (
        b'{"id": 17, "name": "ordinary", "tags": ["a", "b"], "to": "a@b.example", "note": "' + b"words " * 60 + b'"},'
    )
    chunk = record * 128
    subject = JsonMasker(detection, MEMBERS)
    subject.feed(b"[")
    most = size = 0
    while size < 50_000_000:
        size += len(chunk)
        subject.feed(chunk)
        most = max(most, subject.held)
    rest = subject.feed(b'{"ssn": [')
    for _ in range(200):
        rest += subject.feed(b"1, " * 17_000)
        most = max(most, subject.held)
    rest += subject.feed(b'1]}, {"z": 0}]') + subject.finish()
    assert rest.endswith(b'{"ssn": null}, {"z": 0}]')
    assert len(rest) < 200_000
    assert most < 100_000


@pytest.mark.parametrize("shift", range(-24, 3))
def test_a_secret_over_the_seam_of_segments_is_hidden(shift: int) -> None:
    """A text without newlines is cut in segments; a token that lies across is seen whole."""
    filler = '"x",' * (16 * 1024)
    text = f'[{filler[: 64 * 1024 + shift - shift % 4]}{" " * (shift % 4)}"{CARD} a@b.example", {CARD}, {filler}1]'
    assert CARD not in masked_once(text)
    assert "a@b" not in masked_once(text)


def masked_once(text: str) -> str:
    """The text masked in chunks of the size that sockets give."""
    out, whole = stream(JsonMasker(PLAN), cut(text.encode(), range(0, len(text), 4096)))
    assert whole
    json.loads(out)
    return out.decode()
