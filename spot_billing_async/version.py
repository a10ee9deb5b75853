"""The package's version, where both the build and the user agent read it."""

__version__ = "0.2.0"
