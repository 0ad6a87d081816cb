"""Secrets that agents send: redacted in every event, the original only for who holds the edge's key."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag

from edge_agent.secrets import Vault
from gateway_kernel.audit import Decided, Finished, OperationRecord, Outcome, Pending, Prepared, Sending, VerdictRecord
from gateway_kernel.model import Parameter
from gateway_kernel.verdict import Decision

VERDICT = VerdictRecord(Decision.ALLOW, ("r",), ("r",), "d")


def record(text: str, *parameters: bytes) -> OperationRecord:
    return OperationRecord("op", "postgres", "ALTER", text, (), tuple(Parameter("text", each) for each in parameters))


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault.in_directory(tmp_path)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("ALTER ROLE app PASSWORD 'hunter2'", "hunter2"),
        ("create user x with encrypted password 'it''s me'", "it''s me"),
        ("ALTER USER x IDENTIFIED BY 'abc'", "abc"),
        ("ALTER ROLE app PASSWORD $$hunter2$$", "hunter2"),
        ("ALTER ROLE app PASSWORD E'hun\\'ter2'", "hun\\'ter2"),
        ("SELECT set_config('x', 'password=Tr0ub4dor&3', false)", "Tr0ub4dor&3"),
        (
            "INSERT INTO k VALUES ('ghp_abcdefghijklmnopqrstuvwxyz0123456789')",
            "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        ),
    ],
)
def test_a_secret_in_the_text_is_replaced_and_the_original_sealed(vault: Vault, text: str, secret: str) -> None:
    """The event tells the command without the secret; unsealing gives it back whole."""
    body = vault.redacted(Sending("op", record(text), VERDICT))
    assert isinstance(body, Sending)
    assert body.operation is not None
    assert secret not in body.operation.text
    assert secret.encode() not in body.operation.sealed
    assert vault.unseal(body.operation.sealed).text == text


def test_a_secret_in_a_parameter_is_replaced(vault: Vault) -> None:
    """Only the parameter that holds it changes."""
    body = vault.redacted(Pending(record("SELECT $1, $2", b"harmless value", b"AKIAIOSFODNN7EXAMPLE"), VERDICT))
    assert isinstance(body, Pending)
    first, second = body.operation.parameters
    assert first.value == b"harmless value"
    assert second.value is not None
    assert b"AKIAIOSFODNN7EXAMPLE" not in second.value
    assert vault.unseal(body.operation.sealed).parameters[1].value == b"AKIAIOSFODNN7EXAMPLE"


def test_the_text_before_a_rewrite_is_redacted_too(vault: Vault) -> None:
    """It is shown beside the final one."""
    body = vault.redacted(Decided(record("SELECT 1"), VERDICT, "ALTER ROLE app PASSWORD 'hunter2'"))
    assert isinstance(body, Decided)
    assert "hunter2" not in body.rewritten_from


def test_what_holds_no_secret_is_the_same_object(vault: Vault) -> None:
    """The common case costs a look-up."""
    for body in (
        Sending("op", record("SELECT abalance FROM accounts WHERE aid = $1", b"12345678"), VERDICT),
        Sending("op"),
        Prepared(record("SELECT 1"), VERDICT),
        Finished("op", Outcome.COMPLETED),
    ):
        assert vault.redacted(body) is body
        assert vault.redacted(body) is body


def test_the_key_is_made_once_and_only_its_account_can_read_it(tmp_path: Path) -> None:
    """A second worker uses the same one; another directory's cannot unseal."""
    first, second = Vault.in_directory(tmp_path), Vault.in_directory(tmp_path)
    body = first.redacted(Sending("op", record("ALTER ROLE a PASSWORD 'x'"), VERDICT))
    assert isinstance(body, Sending)
    assert body.operation is not None
    assert second.unseal(body.operation.sealed).text.endswith("'x'")
    assert (tmp_path / "secrets.key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "other").mkdir()
    with pytest.raises(InvalidTag):
        Vault.in_directory(tmp_path / "other").unseal(body.operation.sealed)
    assert repr(first) == "Vault(hidden)"
