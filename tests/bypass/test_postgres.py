"""PostgreSQL's evasions, by the tests that all protocols share."""

from tests.bypass.test_end_to_end import test_an_evasion_gets_nowhere, test_its_benign_twin_runs

__all__ = ["test_an_evasion_gets_nowhere", "test_its_benign_twin_runs"]

PROTOCOL = "postgres"
