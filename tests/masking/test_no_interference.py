"""Nothing that a client sees depends on masked content: random statements on two databases that differ in nothing else."""

import random

import pytest

from tests.masking.canaries import World
from tests.masking.grammar import Grammar

STATEMENTS = 60
SIGNS = ("canary", "secret0", "hidden9", "yranac", "7700", "7799")
"""Parts of canaries, one of them backwards; `partial` and every function of the grammar leave one of them, or a hash."""


@pytest.mark.parametrize("seed", range(8))
def test_what_a_client_sees_is_the_same_in_both_worlds(worlds: tuple[World, World], seed: int):
    """Under `filter: deny`, the rows, their number, the outcome and the errors tell nothing of masked columns."""
    grammar = Grammar(random.Random(seed))
    traced = 0
    for _ in range(STATEMENTS):
        text = grammar.statement()
        plans = [world.plan(text) for world in worlds]
        assert plans[0] == plans[1], text
        if plans[0].refusal:
            continue
        one, two = (world.visible(text, plan) for world, plan in zip(worlds, plans, strict=True))
        assert one == two, text
        assert not any(sign in row.lower() for row in one[1] for sign in SIGNS), text
        traced += not one[0].startswith("error")
    assert traced > STATEMENTS // 5, "the grammar draws too few statements that are allowed"


@pytest.mark.parametrize("seed", range(4))
def test_with_filters_allowed_no_canary_reaches_the_client(worlds: tuple[World, World], seed: int):
    """Under `filter: allow` anything may be asked, and each output computed from a masked column is hidden whole."""
    grammar = Grammar(random.Random(1000 + seed))
    for _ in range(STATEMENTS):
        text = grammar.statement()
        plan = worlds[0].plan(text, "allow")
        assert not plan.refusal, (text, plan.refusal)
        _, rows = worlds[0].visible(text, plan)
        assert not any(sign in row.lower() for row in rows for sign in SIGNS), text


@pytest.mark.parametrize("seed", range(4))
def test_statements_without_masked_columns_are_left_alone(worlds: tuple[World, World], seed: int):
    """They are neither refused nor masked, whatever their shape, and their columns are counted as the server counts them."""
    grammar = Grammar(random.Random(2000 + seed), clean=True)
    for _ in range(STATEMENTS):
        text = grammar.statement()
        plan = worlds[0].plan(text)
        status, _ = worlds[0].visible(text, plan)
        assert not plan.refusal, (text, plan.refusal)
        if not status.startswith("error"):
            assert all(output is not None and not any(output) for output in plan.outputs), (text, plan.outputs)
