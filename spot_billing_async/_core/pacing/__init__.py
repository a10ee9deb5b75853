"""Rate limiting and concurrency control of requests."""
