"""9. Masking does not depend on how the response was chunked, framed, encoded (text or binary) or aliased.

Here once through the whole path for each protocol; chunking, framing and encodings are walked in tests/gateway_kernel/masking and
tests/edge_agent/protocols, aliases and expressions in tests/masking and tests/bypass.
"""

from tests.support.world import FREE, World, recordings


def test_no_canary_reaches_the_agent_or_the_recording(world: World) -> None:
    """What is masked is masked for the agent and for everybody who replays the session."""
    with world.connect(FREE) as agent:
        answer = agent.send(world.commands.canary)
    assert not answer.refused, answer.text
    assert "***" in answer.text
    recorded = b"".join(line for recording in recordings(world) for line in recording.lines)
    for canary in world.canaries:
        assert canary not in answer.text
        assert canary.encode() not in recorded
