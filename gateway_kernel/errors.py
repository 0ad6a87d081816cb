"""The few kinds of error the kernel raises. The type says whose fault it is; the text says what, where and what to do."""


class SallyportError(Exception):
    """Everything that Sallyport itself raises on purpose."""


class PeerError(SallyportError):
    """The other side of a connection broke its protocol. Never ours, never the policy author's."""


class PolicyError(SallyportError):
    """A policy document does not load. One error may carry several problems, each `file:line:column: what (hint)`."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class GrantError(SallyportError):
    """A grant does not permit this operation: forged, expired, for other bytes, another agent or another resource."""


class TamperedError(SallyportError):
    """A recording does not verify. `sequence` is the first event that breaks the chain."""

    def __init__(self, session: str, sequence: int, what: str) -> None:
        super().__init__(f"session {session}, event {sequence}: {what}")
        self.session = session
        self.sequence = sequence
        self.what = what


class UnrewritableError(SallyportError):
    """A rewrite obligation cannot be carried out on this operation, so the operation is refused."""


class UnreadableFactError(SallyportError):
    """A fact that this operation has but that cannot be told as the declared type; a rule that asks for it denies."""


class TransitionError(SallyportError):
    """A review was told something that its state does not allow."""


class UnmaskableError(SallyportError):
    """Something must be hidden in a response that cannot be read well enough to hide it. Withhold it; never forward it."""
