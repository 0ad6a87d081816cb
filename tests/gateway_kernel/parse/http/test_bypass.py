"""The HTTP corpus against the judgement alone: each evasion is seen for what it is, each benign twin is let through."""

import msgspec
import pytest
import yaml

from edge_agent.gateway import Route, matched
from edge_agent.routes import segments_of
from gateway_kernel.judge import Judgement, judge
from gateway_kernel.model import Agent, HttpFacts, Operation, Resource, Session
from gateway_kernel.parse.readers import reader_for
from gateway_kernel.policy import Policy
from gateway_kernel.policy import load as load_policy
from tests.bypass import HTTP_POLICY, HTTP_ROUTES, Evasion, corpus, request_bytes

EVASIONS = corpus("http.txt")
SESSION = Session("s", Agent("prober"), Resource("shop", "http"), 0)
NOON = 1_750_000_000_000_000


def _routes() -> tuple[Route, ...]:
    return tuple(
        Route(
            segments=segments_of(route["path"]),
            methods=frozenset(route.get("methods", ())),
            id=route["id"],
            effects=tuple((effect["kind"], effect["object"]) for effect in route["effects"]),
            speaks=route.get("speaks", ""),
        )
        for route in yaml.safe_load(HTTP_ROUTES.read_text())
    )


ROUTES = _routes()


@pytest.fixture(scope="module")
def policy() -> Policy:
    """The policy of the corpus."""
    return load_policy(HTTP_POLICY.read_text(), str(HTTP_POLICY))


def judged(written: str, policy: Policy) -> Judgement:
    """The request judged as the edge would, with the route that matches its normalised path."""
    reader = reader_for("http")
    text = request_bytes(written).decode("utf-8", "surrogateescape")
    operation = reader.declare(Operation("o", "http", text), {})
    family = operation.facts.family
    assert isinstance(family, HttpFacts)
    route = matched(ROUTES, family.method, family.segments) if family.method else None
    if route is not None:
        context = {"id": route.id, "effects": [list(effect) for effect in route.effects], "speaks": route.speaks}
        operation = reader.read(msgspec.structs.replace(operation, context=operation.context | {"route": context}))
    return judge(operation, SESSION, policy, NOON)


def test_the_corpus_is_large_enough() -> None:
    """A corpus that shrinks silently protects nothing."""
    assert len({evasion.attack for evasion in EVASIONS}) >= 180


@pytest.mark.parametrize("evasion", EVASIONS, ids=lambda evasion: evasion.attack)
def test_an_evasion_is_seen(evasion: Evasion, policy: Policy) -> None:
    """The verdict is the expected one, for the expected reason."""
    judgement = judged(evasion.attack, policy)
    facts, verdict = judgement.operation.facts, judgement.verdict
    assert verdict.decision.value == evasion.verdict, (verdict, facts)
    match evasion.effect:
        case "any":
            assert verdict.rules != ("unreadable",), facts
        case "mask":
            assert judgement.mask.refusal, facts
        case kind:
            assert kind in {effect.kind.value for effect in facts.effects}, facts


@pytest.mark.parametrize("evasion", EVASIONS, ids=lambda evasion: evasion.twin)
def test_its_benign_twin_is_allowed(evasion: Evasion, policy: Policy) -> None:
    """What looks like the attack and is none goes through."""
    judgement = judged(evasion.twin, policy)
    assert judgement.verdict.decision.value == "allow", (judgement.verdict, judgement.operation.facts)
    assert not judgement.mask.refusal
