"""Detectors are compiled once for a policy, and the stricter of two masks holds."""

import pytest

from edge_agent.detection import detection
from gateway_kernel.verdict import DetectMask

EMAIL = DetectMask(("email",), "partial")


def test_no_mask_looks_for_nothing() -> None:
    """Nothing is compiled where no rule asks."""
    assert detection((), None) is None


def test_equal_obligations_share_one_detection() -> None:
    """Compiling costs a millisecond; a request must not pay it."""
    assert detection((EMAIL,), None) is detection((DetectMask(("email",), "partial"),), None)


def test_the_stricter_mask_holds() -> None:
    """Two rules on one detector combine."""
    found = detection((EMAIL, DetectMask(("email",), "null")), None)
    assert found is not None
    assert found.strategies == {"email": "null"}


def test_missing_keys_are_an_error() -> None:
    """A strategy that cannot be carried out is said, not skipped."""
    with pytest.raises(ValueError, match="needs masking keys"):
        detection((DetectMask(("email",), "hash"),), None)
