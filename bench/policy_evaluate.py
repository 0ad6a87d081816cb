"""What a verdict costs: microseconds per evaluation of a 20-rule policy, for a statement seen before and for a new one.

    python -m bench.policy_evaluate

`repeated` is the data path's common case: the same prepared statement with other bind values, no rule reads what changes.
`parameters`, `session`, `cap` add one rule that does; `policy.yaml` is the policy
of the end-to-end benchmark. `new` is the first evaluation of a statement.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from gateway_kernel.model import Agent, Effect, EffectKind, Facts, Operation, Parameter, Resource, Session, SqlFacts
from gateway_kernel.policy import Policy, load

ROUNDS = 20_000
REPEATS = 5
RULES = 20
NOW = 1_767_268_800_000_000

FIXED = """
- id: fixed-{number}
  when: >-
    resource.labels[?"env"].orValue("") == "e{number}" &&
    operation.effects.exists(e, e.kind in ["write", "delete"] && e.object == "public.t{number}")
  then: deny
"""
READS = """
- id: reads
  when: operation.effects.all(e, e.kind in ["read", "transaction"])
  then: allow
"""
CHANGING = {
    "repeated": "",
    "parameters": "- {id: by-value, when: 'sql.parameters.exists(p, p == \"13\")', then: deny}\n",
    "session": "- {id: tired, when: session.operations > 1000000, then: deny}\n",
    "cap": "- {id: budget, when: 'true', then: cap, cap: {quantity: rows_read, limit: 1000000}}\n",
}


def policy(extra: str) -> Policy:
    """A policy of 20 rules, `extra` among them."""
    fixed = RULES - 1 - bool(extra)
    rules = READS + extra + "".join(FIXED.format(number=number) for number in range(fixed))
    return load(f"version: 1\nrules:\n{rules}")


def operations(facts: Facts) -> list[Operation]:
    """One statement with different bind values."""
    return [
        Operation(str(n), "postgres", "SELECT $1", (Parameter("23", str(n % 10).encode()),), facts=facts)
        for n in range(ROUNDS)
    ]


def facts() -> Facts:
    """A new statement that reads one table."""
    return Facts("SELECT", (Effect(EffectKind.READ, "public.t1"),), SqlFacts(statements=1, verbs=("SELECT",)))


def cost(run: Callable[[], int]) -> float:
    """The best of several runs, in microseconds of processor time an evaluation."""
    best = float("inf")
    for _ in range(REPEATS):
        start = time.process_time()
        count = run()
        best = min(best, (time.process_time() - start) / count)
    return best * 1e6


def measured() -> Iterator[tuple[str, float]]:
    """Each case and its cost."""
    session = Session("s", Agent("bot"), Resource("db", "postgres", {"env": "prod"}), NOW)
    for name, extra in CHANGING.items():
        rules, known = policy(extra), operations(facts())

        def evaluate(rules: Policy = rules, known: list[Operation] = known) -> int:
            for operation in known:
                rules.evaluate(operation, session, NOW)
            return len(known)

        yield name, cost(evaluate)

    rules = load((Path(__file__).parent / "policy.yaml").read_text())
    seen = operations(facts())

    def evaluate_realistic() -> int:
        for operation in seen:
            rules.evaluate(operation, session, NOW)
        return len(seen)

    yield "policy.yaml", cost(evaluate_realistic)

    rules, one = policy(""), operations(facts())[0]
    unseen = iter([msgspec.structs.replace(one, facts=facts()) for _ in range(REPEATS * 500)])

    def evaluate_new() -> int:
        for _ in range(500):
            rules.evaluate(next(unseen), session, NOW)
        return 500

    yield "new", cost(evaluate_new)


def main() -> None:
    """Print the table."""
    print(f"{RULES} rules, microseconds an evaluation (best of {REPEATS})")
    for name, micros in measured():
        print(f"{name:<12} {micros:8.2f}")


if __name__ == "__main__":
    main()
