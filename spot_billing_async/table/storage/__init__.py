"""Storage of the costs and the ledger as Delta tables."""
