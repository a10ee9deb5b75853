"""Bulk pulls: plan, run and outcomes. They know no HTTP and are given a fetch function."""
