"""The bypass corpus through the whole product: control plane, edge and a real upstream, with an eye on every byte that the client receives.

Whatever an evasion is, the agent is told no (or to wait), nothing of it reaches the upstream, which is as it was, no hidden value is in the
bytes that the client received, and the connection stays usable. Its benign twin runs. `test_postgres` and `test_http` run these
tests, each for its protocol.
"""

from tests.bypass import Evasion
from tests.bypass.attacked import Attacked, Came, leaked

__test__ = False  # collected where a protocol is given, in modules of their own: a worker each

STOPPED = {Came.DENIED, Came.WAITS, Came.NEVER_RAN}
EXPECTED = {
    "deny": {Came.DENIED, Came.NEVER_RAN},
    "review": {Came.WAITS, Came.WRONG},
    "allow": set(Came) - {Came.DENIED, Came.WAITS},
    "any": set(Came),
}


def test_an_evasion_gets_nowhere(evasion: Evasion, attacked: Attacked) -> None:
    """In each form: refused or held, or run with what is hidden left out; and nothing is different afterwards."""
    session = attacked.session()
    for form in attacked.forms(evasion.attack):
        tried = attacked.attempt(evasion.attack, form)
        assert tried.came in EXPECTED[evasion.verdict], (form, tried)
        assert not leaked(tried.received), (form, tried)
        assert tried.goes_on, f"{form}: the connection cannot be used any more"
        if tried.came in STOPPED:
            assert not tried.values, (form, tried)
            assert not tried.ran, (form, tried)
    assert attacked.session() == session
    assert attacked.upstream() == attacked.untouched


def test_its_benign_twin_runs(twin: str, attacked: Attacked) -> None:
    """What looks like the attack and is none goes through, once, in each form."""
    for form in attacked.forms(twin):
        tried = attacked.attempt(twin, form)
        assert (tried.came, tried.goes_on) == (Came.RAN, True), (form, tried)
        assert not leaked(tried.received), (form, tried)
        assert len(tried.ran) == 1, (form, tried)
        attacked.put_away(twin)
