"""Requests over HTTP: calls, sessions, retries, and the transport over aiohttp."""
