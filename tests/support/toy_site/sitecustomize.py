"""Puts the toy room in place of the product's rooms, in processes whose PYTHONPATH begins with this directory."""

import sys
import types

from tests.support.toy_room import ToyRoom

registry = types.ModuleType("edge_agent.protocols.registry")
registry.PROTOCOLS = (ToyRoom,)  # type: ignore[attr-defined]
sys.modules["edge_agent.protocols.registry"] = registry
