"""Plugins every test may use: real servers and the support around them."""

import contextlib

from hypothesis import settings

from tools import build_extensions

# What runs are the sources as they are now: an extension that is older would be imported in their stead. Without a compiler all run as they are,
# and the tests of the compiled parts fail.
with contextlib.suppress(OSError):
    build_extensions.build()

settings.register_profile("untimed", deadline=None)  # how long an example takes says nothing about whether it is right
settings.load_profile("untimed")

pytest_plugins = ["tests.support.postgres", "tests.support.control_plane_process", "tests.support.worlds.fixtures"]
