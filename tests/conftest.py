"""Plugins every test may use: real servers and the support around them."""

pytest_plugins = ["tests.support.postgres", "tests.support.control_plane_process", "tests.support.worlds.fixtures"]
