"""Masking of DataRows: by column, by content, and the same in C and in Python."""

import json
import struct
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.protocols.postgres import rows as rows_module
from edge_agent.protocols.postgres import scan
from edge_agent.protocols.postgres.rows import RowMasker
from edge_agent.protocols.postgres.values import ColumnPlan, Values
from gateway_kernel.errors import UnmaskableError
from gateway_kernel.masking.masker import Detection
from gateway_kernel.masking.strategies import MaskingKeys
from tools import build_extensions

KEYS = MaskingKeys.derive(b"a secret for these tests only")
DETECTION = Detection({"email": "redact", "credit_card": "redact", "secret": "redact"})
TEXT, INT4, INT8, JSON = 25, 23, 20, 114
CARD = b"4111111111111111"
type Row = tuple[bytes | None, ...]


class Field(msgspec.Struct, frozen=True):
    """The part of a RowDescription's field that masking reads."""

    type: int
    format: int = 0


def frame(*values: bytes | None) -> bytes:
    """One DataRow."""
    body = struct.pack("!H", len(values))
    for value in values:
        body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
    return b"D" + struct.pack("!I", len(body) + 4) + body


def unframe(data: bytes) -> list[Row]:
    """The rows of complete DataRow frames."""
    found: list[Row] = []
    at = 0
    while at < len(data):
        kind, length, count = struct.unpack_from("!cIH", data, at)
        assert kind == b"D"
        place = at + 7
        row: list[bytes | None] = []
        for _ in range(count):
            (size,) = struct.unpack_from("!i", data, place)
            place += 4
            row.append(None if size < 0 else data[place : place + size])
            place += max(size, 0)
        at += 1 + length
        assert place == at
        found.append(tuple(row))
    return found


def masker(
    plan: list[ColumnPlan], types: list[int] | None = None, detection: Detection | None = None, **more: int
) -> RowMasker:
    """A RowMasker for text columns unless `types` says otherwise."""
    fields = [Field(oid, more.get("format", 0)) for oid in types or [TEXT] * len(plan)]
    return RowMasker(fields, plan, Values(detection, KEYS))


@pytest.fixture(params=["python", "compiled"], autouse=True)
def scanner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, compiled: object) -> None:
    """Every test of this module runs over both scanners."""
    module = scan if request.param == "python" else compiled
    monkeypatch.setattr(rows_module, "_mask_rows", module.mask_rows)  # pyright: ignore[reportAttributeAccessIssue]


@pytest.fixture(scope="module")
def compiled() -> object:
    """The Cython scanner, built here if it is not there yet."""
    import importlib

    build_extensions.build()
    return importlib.import_module("edge_agent.protocols.postgres._scan")


def test_each_strategy_in_one_row() -> None:
    """Text gets the strategy; a withheld column is NULL; what was NULL stays so."""
    subject = masker(["redact", "partial", "null", "withhold", "hash", None])
    out = subject.feed(frame(b"x", b"jane@example.com", b"y", b"z", b"h", b"stays") + frame(*[None] * 6))
    first, second = unframe(out)
    assert first == (b"***", b"***@example.com", None, None, KEYS.hash(b"h"), b"stays")
    assert second == (None,) * 6
    assert (subject.rows, subject.masked) == (2, 5)


def test_a_type_that_is_not_text_becomes_null_under_any_strategy() -> None:
    """Three asterisks in an int4 break drivers; json, arrays and user types too."""
    subject = masker(["partial"] * 5, [INT4, JSON, 1009, 1700, 99999])
    assert unframe(subject.feed(frame(b"1", b"{}", b"{a}", b"1.5", b"x"))) == [(None,) * 5]


def test_types_that_the_catalogue_calls_text_get_the_strategy() -> None:
    """citext has no fixed oid; the caller names it."""
    subject = RowMasker([Field(99999)], ["redact"], Values(text_oids={99999}))
    assert unframe(subject.feed(frame(b"x"))) == [(b"***",)]


def test_rows_without_a_rule_are_the_same_object() -> None:
    """Nothing to do: not a byte is copied."""
    data = frame(b"a", None) * 3
    plain = masker([None, None])
    assert not plain.active
    assert plain.feed(data) is data
    assert plain.rows == 3
    detecting = masker([None, None], detection=DETECTION)
    assert detecting.active
    assert detecting.feed(data) is data


def test_detectors_find_content_in_any_column() -> None:
    """Only the values with a hit change, in text types inside the value, in numbers to NULL."""
    subject = masker([None, None, None], [TEXT, INT8, JSON], DETECTION)
    clean = frame(b"fine", b"42", b'{"a": 1}')
    out = subject.feed(clean + frame(b"to a@b.example!", CARD, b'{"m": "a\\u0040b.example"}') + clean)
    assert unframe(out) == [
        (b"fine", b"42", b'{"a": 1}'),
        (b"to ***!", None, b'{"m": "***"}'),
        (b"fine", b"42", b'{"a": 1}'),
    ]
    assert subject.values.counts == {"email": 2, "credit_card": 1}


def test_a_column_rule_and_a_detector_combine_to_the_stricter() -> None:
    """`partial` would leave the domain; the detector asks for redact, so redact it is."""
    subject = masker(["partial"], detection=DETECTION)
    assert unframe(subject.feed(frame(b"jane@example.com") + frame(b"nothing here"))) == [(b"***",), (b"***here",)]


@pytest.mark.parametrize("size", [48, 49, 50, 51, 52, 57, 64, 68])
def test_a_length_byte_beside_a_value_hides_nothing(size: int) -> None:
    """A length of 48 to 57 is a digit in ASCII, 68 is the D of the next frame: neither may spoil a boundary."""
    value = CARD + b" " * (size - len(CARD))
    subject = masker([None, None], detection=DETECTION)
    out = unframe(subject.feed(frame(value, value[::-1].strip() and CARD) * 2))
    assert out == [(b"***" + b" " * (size - len(CARD)), b"***")] * 2


def test_invalid_utf8_in_a_value_is_read_as_a_careless_reader_would() -> None:
    """An SQL_ASCII database may send anything."""
    subject = masker([None], detection=DETECTION)
    ((value,),) = unframe(subject.feed(frame(b"4111\xff111111111111")))
    assert value == b"***"


@pytest.mark.parametrize(
    "data",
    [
        b"D\x00\x00\x00\x04",
        frame(b"a")[:-1],
        frame(b"a", b"b"),
        b"C" + frame(b"a")[1:],
        b"D\x00\x00\x00\x0b\x00\x01\x00\x00\x00\x09a",
        b"D\x00\x00\x00\x0b\x00\x01\xff\xff\xff\xfea",
        b"D\x00\x00\x00\x0c\x00\x01\x00\x00\x00\x01ab",
        b"D",
    ],
)
def test_frames_that_are_not_the_described_rows_are_refused(data: bytes) -> None:
    """What cannot be read cannot be masked, and is not let through."""
    with pytest.raises(UnmaskableError, match="cannot be masked"):
        masker(["redact"]).feed(data)


def test_a_part_of_a_buffer_is_masked_by_its_offsets() -> None:
    """The relay gives the buffer it has, with other messages around the rows."""
    data = b"T12345" + frame(CARD, b"b") + b"C...."
    subject = masker([None, "redact"], detection=DETECTION)
    assert unframe(subject.feed(data, 6, len(data) - 5)) == [(b"***", b"***")]
    assert masker([None, None]).feed(data, 6, len(data) - 5) == frame(CARD, b"b")


def test_a_plan_for_other_columns_does_not_load() -> None:
    """A plan that does not fit its RowDescription would mask the wrong column."""
    with pytest.raises(ValueError, match="2 entries for 1 columns"):
        RowMasker([Field(TEXT)], [None, None], Values())


values = st.one_of(
    st.none(),
    st.binary(max_size=20),
    st.sampled_from(
        [b"jane@example.com", CARD, "Владимир".encode(), b"a\\b", b'""', b"x@y", b"1" * 55, b"\x00", b"\xc3", b"a@b.c"]
    ),
    st.integers(-(2**63), 2**63 - 1).map(lambda n: struct.pack("!q", n)),
)
ACTIONS = range(scan.PARTIAL_UNLESS + 1)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_both_scanners_mask_alike(compiled: object, data: st.DataObject) -> None:
    """C and Python: the same bytes, counts and questions, for any rows, actions and suspects; the same refusal of any damage."""
    columns = data.draw(st.integers(1, 4))
    actions = bytes(data.draw(st.lists(st.sampled_from(ACTIONS), min_size=columns, max_size=columns)))
    table = data.draw(st.lists(st.lists(values, min_size=columns, max_size=columns), max_size=5))
    raw = bytearray(b"".join(frame(*row) for row in table))
    for place in data.draw(st.lists(st.integers(0, 40), max_size=1)):
        if place < len(raw):
            raw[place] ^= data.draw(st.integers(1, 255))
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=6, unique=True).map(sorted))
    suspects = [(a, b) for a, b in zip(cuts[::2], cuts[1::2], strict=False)]

    def run(mask: Callable[..., object]) -> tuple[object, list[tuple[int, bytes]]]:
        asked: list[tuple[int, bytes]] = []

        def answer(column: int, value: bytes) -> bytes | None:
            asked.append((column, value))
            return [None, value, b"<" + value + b">", b""][len(value) % 4]

        try:
            return mask(bytes(raw), 0, len(raw), actions, suspects, answer), asked
        except ValueError as error:
            return str(error), []

    assert run(compiled.mask_rows) == run(scan.mask_rows)  # pyright: ignore[reportAttributeAccessIssue]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(b"DTCZ1EN"), st.binary(max_size=9)), max_size=6),
    st.integers(0, 12),
    st.binary(max_size=5),
)
def test_both_scanners_see_the_same_frames(
    compiled: object, parts: list[tuple[int, bytes]], cut: int, more: bytes
) -> None:
    """Rows, other messages and the first incomplete frame, wherever the buffer ends."""
    whole = b"".join(bytes([kind]) + struct.pack("!I", len(body) + 4) + body for kind, body in parts)
    data = whole[: max(0, len(whole) - cut)] + (more if cut == 0 else b"")

    def run(frames: Callable[..., object]) -> object:
        try:
            return frames(data, 0)
        except ValueError as error:
            return str(error)

    found = run(scan.scan_frames)
    assert run(compiled.scan_frames) == found  # pyright: ignore[reportAttributeAccessIssue]
    if cut == 0 and not more:
        assert isinstance(found, tuple)
        assert found[0] == len(whole)
        assert found[1] == sum(kind == 0x44 for kind, _ in parts)


def test_the_scanner_in_use_is_told() -> None:
    """An operator can see whether the compiled scanner is there."""
    assert rows_module.SCANNER in ("cython", "python")


FRAGMENTS = (
    'a@b.example|\\u0040|4111 1111| 1111 1111|4111111111111111|"|""|\\|{|}|(|)|,|password=|hunter2-x'
    "|\n|é| |0|D|jane@|example.com|&#64;|:|[|]|1"
)
fragments = st.sampled_from(FRAGMENTS.split("|"))
contents = st.lists(fragments | st.text(max_size=3), max_size=8).map("".join)
documents = st.recursive(
    contents | st.integers(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(contents, inner, max_size=3)
)


def array(elements: list[str]) -> bytes:
    """A text array as array_out writes it."""
    return "{{{}}}".format(",".join('"' + e.replace("\\", "\\\\").replace('"', '\\"') + '"' for e in elements)).encode()


cells = st.one_of(
    contents.map(lambda text: (TEXT, text.encode("utf-8", "replace"))),
    contents.map(lambda text: (142, text.encode("utf-8", "replace"))),
    contents.map(lambda text: (99999, text.encode("utf-8", "replace"))),
    documents.map(lambda document: (JSON, json.dumps(document).encode())),
    st.lists(contents, min_size=1, max_size=3).map(lambda elements: (1009, array(elements))),
    st.integers(-(2**63), 2**63 - 1).map(lambda number: (INT8, str(number).encode())),
    st.just((INT8, CARD)),
)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.lists(cells, min_size=1, max_size=4), min_size=1, max_size=4))
def test_screening_whole_frames_gives_what_examining_each_value_gives(table: list[list[tuple[int, bytes]]]) -> None:
    """The fast path over raw frames is an optimisation: no value escapes it, whatever stands beside."""
    for row in table:
        types = [oid for oid, _ in row]
        subject = masker([None] * len(row), types, DETECTION)
        expected = tuple(Values(DETECTION).detect(oid, False, value) for oid, value in row)
        data = frame(*(value for _, value in row))
        assert unframe(subject.feed(data * 2)) == [expected, expected]
