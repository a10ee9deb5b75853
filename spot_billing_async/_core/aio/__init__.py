"""Asyncio helpers: deadlines, and waits that survive a cancellation."""
