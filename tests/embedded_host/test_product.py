"""The product's own app, as the worker sees it."""

import json
from pathlib import Path

from tests.embedded_host.test_worker import index

ROOT = Path(__file__).parents[2]


def test_the_product_is_indexed() -> None:
    """From the repository's root, by its marker; its functions are found, so the layout is right."""
    status, told = index(ROOT)
    assert status == 0, told
    names = [name for name in json.loads(told) if not name.startswith("BuiltIn__")]
    assert "adjudicate" in names
    assert len(names) > 10
