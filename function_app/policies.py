"""The policy versions that are stored, compiled: which one is active, which one an edge judged by, and whether a new one may come in.

A text that does not load, or whose own tests fail, never becomes a version. Until somebody pushes one, everything is denied.
"""

from collections import OrderedDict

from function_app.stores.base import PolicyRow, Registry, StoreError
from gateway_kernel.errors import PolicyError
from gateway_kernel.policy import Policy, load
from gateway_kernel.policy.selftest import run

DENY_EVERYTHING = "version: 1\ndefault: deny\nrules: []\n"
"""What holds before the first policy is pushed: version 0."""
COMPILED = 16
"""Compiled policies kept in memory."""


class PolicyShelf:
    """Compiled policies by digest. Compiling takes milliseconds; the stored text is the truth."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._compiled: OrderedDict[str, Policy] = OrderedDict()

    async def active(self) -> tuple[PolicyRow, Policy]:
        """The active version and its compiled form."""
        row = await self._registry.active_policy()
        if row is None:
            policy = self._policy("", DENY_EVERYTHING)
            return PolicyRow(
                0, policy.digest, DENY_EVERYTHING, "sallyport", "before the first policy", 0, active=True
            ), policy
        return row, self._policy(row.digest, row.text)

    async def by_digest(self, digest: str) -> Policy | None:
        """The stored version of this digest, compiled; None if no such version was ever stored."""
        row = await self._registry.policy_by_digest(digest)
        return None if row is None else self._policy(row.digest, row.text)

    def _policy(self, digest: str, text: str) -> Policy:
        policy = self._compiled.get(digest)
        if policy is None:
            policy = self._compiled[digest] = load(text)
            if len(self._compiled) > COMPILED:
                self._compiled.popitem(last=False)
        else:
            self._compiled.move_to_end(digest)
        return policy


def accepted(text: str, name: str) -> Policy:
    """The compiled policy, if it loads and passes its own tests; `StoreError` policy-invalid says line, rule and reason."""
    try:
        policy = load(text, name)
    except PolicyError as error:
        raise StoreError("policy-invalid", 422, str(error)) from error
    failures = [f"{name}: test {one.name!r}: {'; '.join(one.differences)}" for one in run(policy) if one.differences]
    if failures:
        raise StoreError("policy-tests-failed", 422, "\n".join(failures))
    return policy
