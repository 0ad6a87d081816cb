"""The page about masking names what there is."""

from pathlib import Path

from gateway_kernel.masking.detectors import NAMES
from gateway_kernel.verdict import STRICTNESS

PAGE = Path(__file__).resolve().parents[3] / "docs" / "masking.md"


def test_every_detector_and_strategy_is_documented() -> None:
    """A detector or strategy without a line in docs/masking.md is not finished."""
    page = PAGE.read_text(encoding="utf-8")
    missing = [name for name in (*NAMES, *STRICTNESS) if f"`{name}`" not in page]
    assert missing == []
