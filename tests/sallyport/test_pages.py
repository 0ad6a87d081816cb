"""The pages hold what the code says: every key of edge.yaml, every metric, every rule of our own; and no link leads nowhere."""

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from edge_agent import admitted, metrics
from edge_agent.settings_file import (
    AllLimitsFile,
    ControlPlaneFile,
    EdgeFile,
    EffectFile,
    EffectKind,
    InjectedFile,
    LimitsFile,
    ListenerFile,
    ResourceFile,
    RouteFile,
    SpoolFile,
    Tls,
)
from edge_agent.settings_http import SCOPES
from gateway_kernel.parse.http import headers
from gateway_kernel.policy.document import RESERVED

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EDGE = (ROOT / "docs" / "edge.md").read_text()

SECTIONS: list[tuple[str, type[msgspec.Struct]]] = [
    ("", ResourceFile),
    ("", LimitsFile),
    ("", InjectedFile),
    ("", RouteFile),
    ("", EffectFile),
    ("control_plane.", ControlPlaneFile),
    ("tls.", Tls),
    ("limits.", AllLimitsFile),
    ("spool.", SpoolFile),
]
NESTED = {"control_plane", "tls", "limits", "spool"}
KEYS = {
    *(f"{prefix}{field}" for prefix, struct in SECTIONS for field in struct.__struct_fields__),
    *(field for field in EdgeFile.__struct_fields__ if field not in NESTED),
    f"listeners.{ListenerFile.__struct_fields__[0]}",
}


@pytest.mark.parametrize("key", sorted(KEYS))
def test_every_key_of_edge_yaml_is_described(key: str):
    """docs/edge.md names it."""
    assert f"`{key}`" in EDGE


def test_every_default_stands_on_the_page():
    """The row of a key shows the default that the code has."""
    rows = {row.split("|")[1].strip(" `"): row.split("|")[2] for row in EDGE.splitlines() if row.startswith("| `")}
    for field in msgspec.structs.fields(EdgeFile):
        if isinstance(field.default, str | int) and field.default and field.name in rows:
            assert str(field.default) in rows[field.name], field.name


def test_every_kind_of_effect_and_every_token_scope_is_described():
    """What a route may say, and the hosts whose scope need not be written."""
    section = EDGE.split("### Routes of an HTTP API", 1)[1].split("\n### ", 1)[0]
    assert [kind for kind in get_args(EffectKind) if f"`{kind}`" not in section] == []
    hosts = [host.lstrip(".") for host in SCOPES]
    assert [host for host in hosts if host not in EDGE and f"`{host.split('.')[0]}`" not in EDGE] == []


def test_every_metric_is_described():
    """Counters with the `_total` that Prometheus sees."""
    text = metrics.render([("0", metrics.Sample(name, 1)) for name in metrics.NAMES]).decode()
    names = re.findall(r"^(sallyport_\w+?)(?:\{|\s)", text, re.MULTILINE)
    assert names
    assert [name for name in names if not name.endswith("_created") and f"`{name}`" not in EDGE] == []


def test_every_rule_of_our_own_is_described():
    """Those that policies may not take, and the edge's."""
    page = (ROOT / "docs" / "rules.md").read_text()
    edge = (admitted.RECORDING_UNAVAILABLE, admitted.POLICY_STALE, admitted.INTERNAL_ERROR)
    assert [rule for rule in (*RESERVED, *edge) if f"| `{rule}` |" not in page] == []


def test_every_header_that_is_left_out_is_described():
    """docs/http.md names each, and no other."""
    section = (ROOT / "docs" / "http.md").read_text().split("## One form", 1)[1].split("\n## ", 1)[0]
    named = set(re.findall(r"`([a-z0-9-]+\*?)`", section.split("| left out |", 1)[1]))
    lists = (
        headers.HOP_BY_HOP, headers.FRAMING, headers.CREDENTIAL, headers.DATES, headers.REQUEST_IDS, headers.TRACING, headers.RETRIES,
        headers.ORIGIN,
    )  # fmt: skip
    known = {*frozenset().union(*lists), "x-forwarded", *(f"{prefix}*" for prefix in headers.PREFIXES)}
    assert named == known
    assert all(headers.stripped(name.removesuffix("*")) for name in named)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    """Every relative link and picture is a file of the repository."""
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_named_files_exist():
    """What the README names as a file or directory of the repository is there."""
    named = re.findall(r"`((?:docs|examples|bench|tools)/[\w./-]+)`", (ROOT / "README.md").read_text())
    made = {"bench/latest.json"}
    assert [name for name in named if name not in made and not (ROOT / name).exists()] == []
