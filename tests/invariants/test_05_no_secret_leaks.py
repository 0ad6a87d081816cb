"""5. An agent never receives an upstream credential; no secret that Sallyport holds appears in a log, a recording, an error, or a `repr`;
secrets that an agent sends are stored encrypted and redacted in every view."""

from pathlib import Path

from gateway_kernel.audit import OperationRecord, Sending
from tests.support.world import FREE, GUARDED, World, bodies, decide, open_review, recordings, sending


def everything_written(home: Path) -> dict[str, bytes]:
    """Every file of the stack but its key files."""
    return {
        str(path): path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and "keys" not in path.parts and not path.name.startswith("edge.yaml")
    }


def test_the_injected_credential_is_nowhere(world: World) -> None:
    """Neither in what the agent got nor in any file: spool, logs, databases."""
    with world.connect(FREE) as agent:
        told = agent.send(world.commands.look).text + agent.send(world.commands.forbidden).text
    recordings(world)
    assert world.injected not in told
    found = [
        name for name, content in everything_written(world.stack.home).items() if world.injected.encode() in content
    ]
    assert not found


def test_the_keys_of_agents_and_people_are_stored_hashed(world: World) -> None:
    """No database, log or spool holds a key as it was shown."""
    with world.connect(FREE) as agent:
        agent.send(world.commands.look)
    recordings(world)
    keys = {path.name: path.read_bytes().strip() for path in world.stack.keys.iterdir() if path.name != "url"}
    keys = {name: key for name, key in keys.items() if key.startswith(b"sp")}
    written = everything_written(world.stack.home)
    found = [(name, file) for name, key in keys.items() for file, content in written.items() if key in content]
    assert keys
    assert not found


def test_a_secret_that_the_agent_sends_is_redacted_and_kept_encrypted(world: World) -> None:
    """The recording shows where it stood; the original is sealed; the review shows the approver no secret."""
    secret = world.commands.secret
    with world.connect(FREE) as agent:
        assert not agent.send(world.commands.with_secret).refused
    with world.connect(GUARDED) as agent, sending(agent, world.commands.with_secret):
        review = open_review(world)
        shown = world.stack.person("ann@example.com").get(f"/v1/reviews/{review}")
        decide(world, review, "deny")
    assert secret not in str(shown)
    sent = [body.operation for recording in recordings(world) for body in bodies(recording, Sending)]
    sealed = [record for record in sent if isinstance(record, OperationRecord) and record.sealed]
    assert sealed
    assert all(secret not in record.text for record in sealed)
    assert not [name for name, content in everything_written(world.stack.home).items() if secret.encode() in content]
