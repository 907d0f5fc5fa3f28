"""Which hgqify this is."""

from importlib.metadata import PackageNotFoundError, version


def hgqify_version() -> str:
    """Version of the installed package, 'unknown' if it runs without being installed."""
    try:
        return version("hgqify")
    except PackageNotFoundError:
        return "unknown"
