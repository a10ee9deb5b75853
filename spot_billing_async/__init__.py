"""Asyncio client of the Spot Billing Engine API."""

__version__ = "0.1.0"
