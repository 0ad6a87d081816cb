"""Plugins every test may use: real servers and the support around them."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # how long an example takes says nothing about whether it is right
settings.load_profile("untimed")

pytest_plugins = ["tests.support.postgres", "tests.support.control_plane_process", "tests.support.worlds.fixtures"]
