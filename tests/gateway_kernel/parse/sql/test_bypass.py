"""The bypass corpus against the judgement alone: each evasion is seen for what it is, each benign twin is let through."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from gateway_kernel.judge import judge
from gateway_kernel.model import Agent, Resource, Session
from gateway_kernel.policy import Policy
from gateway_kernel.policy import load as load_policy
from tests.bypass import POLICY, SCHEMA, Evasion, corpus
from tests.support.facts import operation_on
from tests.support.postgres import Postgres

EVASIONS = corpus("postgres.txt")
SESSION = Session("s", Agent("prober"), Resource("shop", "postgres"), 0)
NOON = 1_750_000_000_000_000


@pytest.fixture(scope="module")
def attacked(postgres: Postgres) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a fresh database of the corpus."""
    name = postgres.create_database(SCHEMA)
    with postgres.connect(name) as connection:
        yield connection
    postgres.drop_database(name)


@pytest.fixture(scope="module")
def policy() -> Policy:
    """The policy of the corpus."""
    return load_policy(POLICY.read_text(), str(POLICY))


def test_the_corpus_is_large_enough() -> None:
    """A corpus that shrinks silently protects nothing."""
    assert len({evasion.attack for evasion in EVASIONS}) >= 200


@pytest.mark.parametrize("evasion", EVASIONS, ids=lambda evasion: evasion.attack)
def test_an_evasion_is_seen(evasion: Evasion, attacked: psycopg.Connection[Any], policy: Policy) -> None:
    """The verdict is the expected one, for the expected reason."""
    judgement = judge(operation_on(attacked, evasion.attack), SESSION, policy, NOON)
    facts, verdict = judgement.operation.facts, judgement.verdict
    kinds = {effect.kind.value for effect in facts.effects}
    if evasion.verdict != "any":
        assert verdict.decision.value == evasion.verdict, (verdict, facts)
    match evasion.effect:
        case "any":
            pass
        case "mask":
            assert judgement.mask.refusal, facts
        case "masked":
            withheld = any(output is None or any(output) for output in judgement.mask.outputs)
            assert verdict.denies or (judgement.mask.sensitive and withheld), (judgement.mask, facts)
        case kind:
            assert kind in kinds, facts


@pytest.mark.parametrize("evasion", EVASIONS, ids=lambda evasion: evasion.twin)
def test_its_benign_twin_is_allowed(evasion: Evasion, attacked: psycopg.Connection[Any], policy: Policy) -> None:
    """What looks like the attack and is none goes through."""
    judgement = judge(operation_on(attacked, evasion.twin), SESSION, policy, NOON)
    assert judgement.verdict.decision.value == "allow", (judgement.verdict, judgement.operation.facts)
