"""`sallyport demo`: ends 0, says all nine words, and can be drawn. Its own checks are against the upstreams' journals."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
WORDS = {"ALLOWED", "MASKED", "BLOCKED", "REWRITTEN", "WAITING", "APPROVED", "DENIED", "REPLAYED", "VERIFIED"}
ENDING = {"REPLAYED", "VERIFIED"}
NOTHING_RAN = {"BLOCKED", "WAITING", "DENIED"}
LIMIT = 150


def test_the_demo_holds(tmp_path: Path):
    """Every step as JSON, with what the agent saw and what the upstream ran, in both acts; and drawn."""
    drawing = tmp_path / "demo.svg"
    command = [sys.executable, "-m", "sallyport", "demo", "--json", "--capture", str(drawing)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)
    assert said.returncode == 0, said.stdout + said.stderr
    steps = json.loads(said.stdout)["steps"]
    assert {step["step"] for step in steps} == WORDS
    for upstream, words in (("postgresql_ran", WORDS - ENDING), ("service_ran", WORDS - ENDING - {"DENIED"})):
        act = [step for step in steps if upstream in step]
        assert {step["step"] for step in act} == words
        assert all((step[upstream] == []) == (step["step"] in NOTHING_RAN) for step in act)
    drawn = "".join(ElementTree.fromstring(drawing.read_text()).itertext())
    assert [word for word in WORDS if word not in drawn] == []
