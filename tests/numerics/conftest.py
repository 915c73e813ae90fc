"""Property tests draw the same examples in every run, and a loaded machine is no failure."""

from hypothesis import settings

settings.register_profile("numerics", deadline=None, derandomize=True, database=None)
settings.load_profile("numerics")
