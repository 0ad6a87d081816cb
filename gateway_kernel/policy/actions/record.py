"""`then: record`: how much of the response the recording keeps. Requests, parameters and verdicts are always recorded."""

from collections.abc import Iterator

import msgspec

from gateway_kernel.policy.actions.action import Groups, Objection
from gateway_kernel.policy.obligations import Draft, Statement
from gateway_kernel.verdict import Responses


class RecordSettings(msgspec.Struct, frozen=True):
    """`full`, `head` (the beginning) or `digest` (its hash); always as masked."""

    responses: Responses


class Record:
    """Adds what is to be kept, whatever the decision; of several the most is kept."""

    name = "record"
    settings = RecordSettings

    def check(self, settings: RecordSettings, groups: Groups) -> Iterator[Objection]:
        yield from ()

    def apply(self, rule: Statement, settings: RecordSettings, draft: Draft) -> None:
        draft.responses.append(settings.responses)


ACTION = Record()
