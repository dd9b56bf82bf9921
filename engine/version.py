"""The version of the product, as its distribution says it."""

from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "betterai-engine"


def product_version() -> str:
    """The installed version, or 0+unknown in a tree that was never installed."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "0+unknown"
