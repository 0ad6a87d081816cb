"""JSON texts one behind the other."""

import pytest

from gateway_kernel.masking.json_lines import JsonLinesMasker
from gateway_kernel.masking.masker import Detection
from gateway_kernel.masking.members import Members
from gateway_kernel.verdict import ColumnMask

from .chunks import same_for_every_split

PLAN = Detection({"email": "redact"})
MEMBERS = Members((ColumnMask(("$.ssn",), "redact"),))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"ssn": 1}\n{"ssn": "2"}\n', '{"ssn": null}\n{"ssn": "***"}\n'),
        ('\n\r\n{"a": {"ssn": 1}}\r\n"a@b.example"\n12\ntrue', '\n\r\n{"a": {"ssn": 1}}\r\n"***"\n12\ntrue'),
        ('{\n "ssn": 1\n}{"ssn": 2}', '{\n "ssn": null\n}{"ssn": null}'),
        ('\x1e{"ssn": 1}\n\x1e[]\n', '\x1e{"ssn": null}\n\x1e[]\n'),
        ("", ""),
        ('\ufeff{"ssn": 1}', '\ufeff{"ssn": null}'),
    ],
)
def test_each_text_is_masked_by_itself(text: str, expected: str) -> None:
    """Lines, records of RFC 7464, or texts without anything between them."""
    for detection in (None, PLAN):
        made = expected if detection else expected.replace('"***"\n12', '"a@b.example"\n12')
        assert same_for_every_split(lambda: JsonLinesMasker(detection, MEMBERS), text.encode(), (3, 11)) == (  # noqa: B023
            made.encode(),
            True,
        )


def test_a_line_goes_out_when_it_is_whole() -> None:
    """A watch may wait for hours for its next line."""
    subject = JsonLinesMasker(PLAN, MEMBERS)
    assert subject.feed(b'{"to": "a@b.example"}\n') == b'{"to": "***"}\n'
    assert subject.held == 0


@pytest.mark.parametrize("text", ['{"a": 1}\nnot json\n{"ssn": 1}\n', '{"a": 1}\n{"a":', '{"a": 1}\n]'])
def test_a_line_that_is_not_json_ends_the_stream(text: str) -> None:
    """What stood before it has gone; nothing behind it does."""
    out, whole = same_for_every_split(lambda: JsonLinesMasker(None, MEMBERS), text.encode(), (3, 11))
    assert not whole
    assert out.startswith(b'{"a": 1}\n')
    assert b"ssn" not in out
