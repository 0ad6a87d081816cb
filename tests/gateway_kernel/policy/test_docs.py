"""docs/policy.md says everything that a policy can say."""

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from gateway_kernel.masking import detectors
from gateway_kernel.model import EffectKind
from gateway_kernel.policy import actions, cases, load
from gateway_kernel.policy.actions.cap import CapSettings
from gateway_kernel.policy.actions.mask import MaskSettings
from gateway_kernel.policy.actions.record import RecordSettings
from gateway_kernel.policy.actions.review import ReviewSettings
from gateway_kernel.policy.actions.rewrite import RewriteSettings
from gateway_kernel.policy.document import RESERVED, Head
from gateway_kernel.policy.facts import FAMILIES
from gateway_kernel.policy.selftest import run
from gateway_kernel.policy.shape import keys
from gateway_kernel.verdict import CapQuantity, Filter, Responses, Strategy

TEXT = Path("docs/policy.md").read_text()
SETTINGS: dict[str, type[msgspec.Struct]] = {
    "review": ReviewSettings,
    "rewrite": RewriteSettings,
    "mask": MaskSettings,
    "record": RecordSettings,
    "cap": CapSettings,
}


def section(name: str) -> str:
    """The text under the heading `name`, up to the next heading of any level."""
    found = re.search(rf"^#+ {re.escape(name)}\n(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None, f"docs/policy.md has no section {name!r}"
    return found[1]


def is_named(word: str, text: str) -> bool:
    """True if `word` stands in code type, alone or as a key."""
    return re.search(rf"`[^`\n]*(?<![\w-]){re.escape(word)}(?![\w-])[^`\n]*`", text) is not None


@pytest.mark.parametrize("action", actions.ACTIONS, ids=lambda action: action.name)
def test_every_action_is_documented(action: actions.Action):
    """Each action has its section, and each of its settings stands in it."""
    assert f"\n### {action.name}\n" in TEXT
    if action.settings is not None:
        missing = [key for key in keys(SETTINGS[action.name]) if not is_named(key, section(action.name))]
        assert missing == []


def test_every_fact_is_documented_and_no_other():
    """The table of facts is exactly the declared families and fields."""
    declared = {f"{family.name}.{field}" for family in FAMILIES for field in family.fields}
    assert set(re.findall(r"^\| `(\w+\.\w+)` \|", section("Facts"), re.MULTILINE)) == declared


def test_every_word_is_documented():
    """Effect kinds, detectors, strategies, quantities, document keys, test keys and built-in rule names are all there."""
    words = [kind.value for kind in EffectKind] + [*detectors.NAMES, *RESERVED, *keys(Head), "rules", "tests"]
    words += [str(word) for kind in (Strategy, Filter, Responses, CapQuantity) for word in get_args(kind)]
    for struct in (cases.Case, cases.Expectation, cases.CaseAgent, cases.CaseResource, cases.CaseSession):
        words += keys(struct)
    assert [word for word in words if not is_named(word, TEXT)] == []


def test_the_example_of_the_page_works():
    """The document at the top loads without a warning and passes its own test."""
    example = load(TEXT.split("```yaml\n", 1)[1].split("```", 1)[0])
    assert example.warnings == ()
    assert [result.differences for result in run(example)] == [()]
