"""Durable orchestrations: deterministic generators that only call activities, wait for hints and set timers."""
