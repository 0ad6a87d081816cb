"""Which of a session's answers are masked, and by what: from the judgement of an operation to a function over its rows.

The maskers themselves are `rows` and `copyrows`. What cannot be masked for want of an origin is withheld (NULL); what cannot be read
ends the session rather than pass.
"""

from edge_agent.detection import detection
from edge_agent.gateway import Gateway
from edge_agent.protocols.postgres import messages as m
from edge_agent.protocols.postgres.rows import RowMasker
from edge_agent.protocols.postgres.run import Run
from edge_agent.protocols.postgres.values import ColumnPlan, Values
from gateway_kernel.verdict import Obligations

TEXT = 25  # the oid of type text

_REMEMBERED = 64
_SOME = (m.Field(b"", 0, 0, 0, 0, 0, 0),)  # a result with columns that nobody looks into


class Masks:
    """The masking of one session."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._untouched: dict[tuple[bytes, object], Obligations] = {}  # results that need no masking, by their columns
        self._values: Values | None = None  # of the last operation with detectors: what notifications are read with

    def needed(self, run: Run) -> bool:
        """True if the rows of this operation have to be looked at."""
        judgement = run.judgement
        if judgement is None or run.session.kernel.mode == "observe":
            return False
        return judgement.mask.sensitive or bool(judgement.mask.outputs) or bool(judgement.verdict.obligations.detect)

    def values(self, run: Run) -> Values:
        """The detectors and keys for one operation."""
        assert run.judgement is not None
        keys = self._gateway.masking_keys
        found = detection(run.judgement.verdict.obligations.detect, keys)
        values = Values(found, keys)
        if found is not None:
            self._values = values
        return values

    def plan(self, run: Run, columns: int) -> list[ColumnPlan]:
        """One entry for each column of the result that arrives; everything withheld where the plan does not fit it."""
        assert run.judgement is not None
        mask = run.judgement.mask
        if not mask.outputs:
            return ["withhold" if mask.sensitive else None] * columns
        entry = mask.outputs[run.result] if run.result < len(mask.outputs) else None
        if entry is None or len(entry) != columns:
            return ["withhold"] * columns
        return list(entry)

    def describe(self, run: Run, raw: bytes) -> None:
        """RowDescription arrived: the rows behind it have these columns."""
        if not self.needed(run):
            return
        assert run.judgement is not None
        obligations, outputs = run.judgement.verdict.obligations, run.judgement.mask.outputs
        entry = outputs[run.result] if run.result < len(outputs) else outputs
        if self._untouched.get((raw, entry)) is obligations and not run.judgement.mask.sensitive:
            run.sink = None
            run.fields = _SOME
            return
        run.fields = m.read_row_description(raw)
        values = self.values(run)
        masker = RowMasker(run.fields, self.plan(run, len(run.fields)), values)
        if not masker.active:
            run.sink = None
            if len(self._untouched) >= _REMEMBERED:
                self._untouched.clear()
            self._untouched[raw, entry] = obligations
            return

        def sink(data: bytes, start: int, end: int) -> bytes:
            masked = masker.feed(data, start, end)
            run.masked = _counts(masker.masked, values)
            return masked

        run.sink = sink

    def notification(self, raw: bytes) -> bytes | None:
        """A NotificationResponse with its payload masked, or None if it may go as it is."""
        if self._values is None:
            return None
        channel, _, payload = raw[9:-1].partition(b"\0")
        masked = self._values.detect(TEXT, False, payload)
        if masked is payload:
            return None
        return m.message(m.NOTIFICATION_RESPONSE, raw[5:9] + channel + b"\0" + (masked or b"") + b"\0")


def _counts(columns: int, values: Values) -> dict[str, int]:
    counts = dict(values.counts)
    if columns:
        counts["columns"] = columns
    return counts
