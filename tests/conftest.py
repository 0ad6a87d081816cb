"""Plugins every test may use: real servers and the support around them."""

pytest_plugins = ["tests.support.postgres"]
