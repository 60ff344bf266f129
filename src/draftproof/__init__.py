"""Does speculative decoding still refuse what your model refused?

Two halves share one spine: the *decoder* makes tokens, the *screen* judges pairs of answers.
"""

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    """Return the installed version; reading it takes longer than all else that an import does.

    Raises:
        AttributeError: For any other name.
    """
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - see above

    try:
        found = version("draftproof")
    except PackageNotFoundError:  # a source tree on PYTHONPATH, never installed
        found = "0+source"
    globals()[name] = found
    return found
