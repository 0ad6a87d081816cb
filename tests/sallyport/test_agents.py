"""`sallyport agent`: keys shown once, revoked at once."""

import secrets

from tests.sallyport.conftest import Command


def test_add_list_revoke(as_admin: Command):
    """An agent comes with a key that is shown once, is listed with its groups and owners, and goes."""
    name = f"bot-{secrets.token_hex(3)}"
    added = as_admin("agent", "add", name, "--group", "ci", "--owner", "o@example.com", "--days", "3", "--json")
    assert added.code == 0
    assert added.json["key"].startswith("spa_")
    listed = as_admin("agent", "list")
    assert name in listed.out
    assert added.json["key"] not in listed.out
    found = next(agent for agent in as_admin("agent", "list", "--json").json if agent["name"] == name)
    assert (found["groups"], found["owners"], len(found["keys"])) == (["ci"], ["o@example.com"], 1)
    assert as_admin("agent", "revoke", name).out == f"{name} is revoked.\n"
    assert as_admin("agent", "revoke", "nobody-of-that-name").code == 1


def test_add_in_words(as_admin: Command):
    """The text names the key and warns that it is not shown again."""
    said = as_admin("agent", "add", f"bot-{secrets.token_hex(3)}")
    assert said.code == 0
    assert "spa_" in said.out
    assert "not shown again" in said.out


def test_revoke_one_key(as_admin: Command):
    """Only the key that was named is revoked."""
    name = f"bot-{secrets.token_hex(3)}"
    key = as_admin("agent", "add", name, "--json").json["id"]
    assert as_admin("agent", "revoke", name, "--key", key, "--json").json == {
        "agent": name,
        "key": key,
        "revoked": True,
    }
    found = next(agent for agent in as_admin("agent", "list", "--json").json if agent["name"] == name)
    assert [one["revoked"] for one in found["keys"]] == [True]


def test_a_bad_name_is_refused(as_admin: Command):
    """The control plane's reason reaches the terminal, inert."""
    said = as_admin("agent", "add", "no spaces\x1b[2J")
    assert said.code == 1
    assert "\x1b" not in said.error


def test_days_out_of_range_are_bad_usage(as_admin: Command):
    """A key lives for 1 to 730 days."""
    assert as_admin("agent", "add", "x", "--days", "0").code == 2
