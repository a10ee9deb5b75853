"""Meaning of requests and responses, as pure functions of their data; nothing here does I/O."""
