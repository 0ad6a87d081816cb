"""Policies: one YAML document of ordered rules, its conditions in CEL, checked when it is loaded. POLICY.md is its meaning."""

from gateway_kernel.policy.document import load
from gateway_kernel.policy.evaluate import Policy

__all__ = ["Policy", "load"]
