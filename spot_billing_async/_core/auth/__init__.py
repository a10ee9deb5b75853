"""Credentials: where the token, the account and the base URL come from."""
