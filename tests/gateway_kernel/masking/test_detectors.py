"""Each detector against its own examples and counter-examples, and the promises that hold for all of them."""

import importlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_kernel.masking.detectors import NAMES, REGISTRY, Detector, Screen, resolve


def _cases(attribute: str) -> list[object]:
    cases: list[object] = []
    for detector in REGISTRY:
        module = importlib.import_module(f"gateway_kernel.masking.detectors.{detector.name}")
        for index, case in enumerate(getattr(module, attribute)):
            cases.append(pytest.param(detector, case, id=f"{detector.name}-{index}"))
    return cases


EVERY_EXAMPLE = [case.values[1][0].encode() for case in _cases("EXAMPLES")]  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(("detector", "example"), _cases("EXAMPLES"))
def test_an_example_is_found_exactly(detector: Detector, example: tuple[str, str]) -> None:
    """The detector hides the stated part of its own example and nothing else."""
    text, hidden = example
    data = text.encode()
    assert {data[start:end].decode() for start, end in detector.find(data)} == {hidden}


@pytest.mark.parametrize(("detector", "text"), _cases("COUNTER_EXAMPLES"))
def test_a_counter_example_is_left_alone(detector: Detector, text: str) -> None:
    """The detector finds nothing in what only resembles its content."""
    assert list(detector.find(text.encode())) == []


def test_every_detector_has_examples_of_both_kinds() -> None:
    """A detector without counter-examples is not finished."""
    for detector in REGISTRY:
        module = importlib.import_module(f"gateway_kernel.masking.detectors.{detector.name}")
        assert module.EXAMPLES, detector.name
        assert module.COUNTER_EXAMPLES, detector.name
        assert module.__doc__, detector.name


def test_secret_is_the_family_of_all_credentials() -> None:
    """`detect: [secret]` in a policy means every detector of credentials, in the registry's order."""
    assert [d.name for d in resolve(["secret"])] == [
        "jwt",
        "private_key",
        "azure_storage_key",
        "sas_token",
        "connection_string",
        "aws_key",
        "github_token",
        "generic_secret",
    ]


def test_an_unknown_detector_is_refused_by_name() -> None:
    """A policy that asks for a detector that does not exist gets the list of those that do."""
    with pytest.raises(ValueError, match="unknown detector 'emial'; known are email"):
        resolve(["emial"])
    assert len(set(NAMES)) == len(NAMES)


@given(
    st.lists(st.one_of(st.sampled_from(EVERY_EXAMPLE), st.binary(max_size=12)), max_size=6),
    st.binary(max_size=3),
)
def test_the_screen_misses_nothing_whatever_stands_beside_a_value(values: list[bytes], between: bytes) -> None:
    """In raw frames, with length bytes beside the values, a loose span lies over each confirmed one."""
    frame = bytearray()
    places: list[int] = []
    for value in values:
        frame += between + len(value).to_bytes(4, "big")
        places.append(len(frame))
        frame += value
    loose = Screen(REGISTRY).spans(bytes(frame))
    for value, place in zip(values, places, strict=True):
        for detector in REGISTRY:
            if list(detector.find(value)):
                assert any(start < place + len(value) and end > place for start, end in loose), detector.name
