"""Settings of the whole test suite."""

import os

# Before anything imports keras: it reads the backend once.
os.environ.setdefault("KERAS_BACKEND", "jax")

from hypothesis import HealthCheck, settings

# No deadlines: the first call of a jitted function compiles it, and CI machines stall.
_common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=100, **_common)
settings.register_profile("ci", max_examples=250, derandomize=True, print_blob=True, **_common)
# For `pytest -m fuzz`: a new seed every time, or the one of --hypothesis-seed.
settings.register_profile("thorough", max_examples=1000, print_blob=True, **_common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))
