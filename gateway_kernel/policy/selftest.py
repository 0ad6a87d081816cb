"""Running a policy's own tests: each case is judged as an operation would be, and held against what it expects.

Cases go through `judge`, so rewrites and masks are those that would happen. Nothing is forwarded and nobody is asked. What the server's
catalogue would say comes from the case (`tables`), by the reader of its protocol.
"""

from collections.abc import Iterator

import msgspec

from gateway_kernel.judge import Judgement, judge
from gateway_kernel.model import Operation
from gateway_kernel.parse.readers import reader_for
from gateway_kernel.policy.cases import Case, Expectation, instant, operation_of, session_of
from gateway_kernel.policy.evaluate import Policy

NO_MASK = "none"
WITHHELD = "withheld"


class CaseResult(msgspec.Struct, frozen=True):
    """What became of one case. `differences` is empty if it passed; `judgement` is None if it could not be judged."""

    name: str
    differences: tuple[str, ...]
    judgement: Judgement | None = None

    @property
    def passed(self) -> bool:
        return not self.differences


def run(policy: Policy) -> tuple[CaseResult, ...]:
    """Run every case of `policy`."""
    return tuple(_run(policy, case) for case in policy.cases)


def read_operation(case: Case) -> Operation:
    """Return the operation of a case, read in the context that the case gives. Raise `KeyError` for an unknown protocol."""
    reader = reader_for(case.resource.protocol)
    return reader.declare(operation_of(case, dict(case.context)), case.tables)


def _run(policy: Policy, case: Case) -> CaseResult:
    try:
        operation = read_operation(case)
    except KeyError as error:
        return CaseResult(case.name, (str(error.args[0]),))
    judgement = judge(operation, session_of(case), policy, instant(case.now))
    return CaseResult(case.name, tuple(_differences(judgement, case.expect)), judgement)


def _differences(judgement: Judgement, expected: Expectation) -> Iterator[str]:
    verdict = judgement.verdict
    if verdict.decision.value != expected.verdict:
        why = f", because: {verdict.reason}" if verdict.reason else ""
        yield f"expected {expected.verdict}, got {verdict.decision.value} by {', '.join(verdict.rules)}{why}"
    if expected.rules is not None and set(expected.rules) != set(verdict.rules):
        yield f"expected the rules {_listed(expected.rules)}, got {_listed(verdict.rules)}"
    if expected.reason is not None and expected.reason != verdict.reason:
        yield f"expected the reason {expected.reason!r}, got {verdict.reason!r}"
    if expected.rewrites is not None:
        final = " ".join(judgement.operation.text.split())
        if final != " ".join(expected.rewrites.split()):
            yield f"expected it to become {expected.rewrites!r}, got {final!r}"
    yield from _obligations(judgement, expected)


def _obligations(judgement: Judgement, expected: Expectation) -> Iterator[str]:
    obligations = judgement.verdict.obligations
    rewrite = obligations.rewrite
    found: list[tuple[str, object, object]] = [
        ("read_only", expected.read_only, rewrite is not None and rewrite.read_only),
        ("limit", expected.limit, None if rewrite is None else rewrite.limit),
        ("responses", expected.responses, obligations.responses),
    ]
    for name, wanted, got in found:
        if wanted is not None and wanted != got:
            yield f"expected {name} {wanted}, got {got}"
    if expected.detect is not None:
        detect = {name for mask in obligations.detect for name in mask.detect}
        if detect != set(expected.detect):
            yield f"expected the detectors {_listed(expected.detect)}, got {_listed(sorted(detect))}"
    if expected.masks is not None and (masks := masks_of(judgement)) != expected.masks:
        yield f"expected the masks {_listed(expected.masks)}, got {_listed(masks)}"


def masks_of(judgement: Judgement) -> tuple[str, ...]:
    """One word for each result column, statement after statement: a strategy, `none`, or `withheld` for all of one statement."""
    words: list[str] = []
    for output in judgement.mask.outputs:
        words.extend((WITHHELD,) if output is None else (strategy or NO_MASK for strategy in output))
    return tuple(words)


def _listed(words: "tuple[str, ...] | list[str]") -> str:
    return f"[{', '.join(words)}]"
