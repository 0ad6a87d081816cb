"""The two kinds of state that a session is in, by name: what its transaction is, and what it waits for."""

IDLE, IN_TRANSACTION, FAILED = b"ITE"
"""ReadyForQuery's status byte."""

FREE, READY, HELD, BARRIER, LOOKUP, INPUT = range(6)
"""What the next message of the client waits for: nothing, ReadyForQuery, people, the answer to an operation that may change what texts mean,
the answer to a question of ours, or more messages of the client."""
