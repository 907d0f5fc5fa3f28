"""Settings of the whole test suite."""

import ctypes
import gc
import os
from pathlib import Path

# Before anything imports keras: it reads the backend once.
os.environ.setdefault("KERAS_BACKEND", "jax")
# Without it TensorFlow cannot convolve channels_first on a CPU, and only on some CPUs it is the default.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

from hypothesis import HealthCheck, settings

# No deadlines: the first call of a jitted function compiles it, and CI machines stall.
_common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=100, **_common)
settings.register_profile("ci", max_examples=250, derandomize=True, print_blob=True, **_common)
# For `pytest -m fuzz`: a new seed every time, or the one of --hypothesis-seed.
settings.register_profile("thorough", max_examples=1000, print_blob=True, **_common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

_HELD = 4 * 2**30  # bytes that a process of tests may hold before compiled programs are thrown away
_LEFT = [0]  # what it held after they were, the last time


def _resident() -> int:
    """Bytes of memory this process holds; 0 where the system does not say."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else 0


def pytest_runtest_setup():
    """Initial weights, dropout and shuffling are the same in every run: a test fails always or never."""
    import keras

    keras.utils.set_random_seed(0)


def pytest_runtest_teardown():
    """JAX keeps every program that it ever compiled: after thousands of tests, gigabytes in each process."""
    if os.environ["KERAS_BACKEND"] != "jax" or _resident() < max(_HELD, _LEFT[0] + 2**30):
        return
    import jax

    gc.collect()
    jax.clear_caches()
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc keeps what is freed
    if trim is not None:
        trim(0)
    _LEFT[0] = _resident()
