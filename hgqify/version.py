"""Which hgqify this is, and which packages it runs on."""

import platform
from importlib.metadata import PackageNotFoundError, version


def hgqify_version() -> str:
    """Version of the installed package, 'unknown' if it runs without being installed."""
    return _version("hgqify")


def versions(*names: str) -> dict[str, str]:
    """Versions of installed packages, without importing them; 'unknown' for those not installed."""
    return {name: _version(name) for name in ("python", *names)}


def _version(name: str) -> str:
    if name == "python":
        return platform.python_version()
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
