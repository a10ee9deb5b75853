"""Opening of the costs and the ledger as a pair: neither is usable without the other."""

import pyarrow as pa

from spot_billing_async.table.storage.delta import DeltaTable, TableError, check_location

Pair = tuple[DeltaTable | None, DeltaTable | None]
"""Costs and ledger; None for one that does not exist."""


def open_pair(
    uris: tuple[str, str], schemas: tuple[pa.Schema, pa.Schema], *, to_write: bool
) -> Pair:
    """Open the costs and the ledger; None for one that was not created yet.

    Raises:
        ConfigError: a location holds something else.
        TableError: one cannot be read (or written), or is missing although the other has rows.
    """
    for uri in uris:
        check_location(uri, to_write=to_write)
    pair = _open_both(uris, schemas)
    if _is_broken(pair):
        # Another sync may have created both between the two calls.
        pair = _open_both(uris, schemas)
    if _is_broken(pair):
        present, missing = uris if pair[1] is None else reversed(uris)
        raise TableError(
            f"{present} exists but {missing} is missing, and neither is usable without the other; "
            f"restore {missing}, or delete (or move) {present} as well to start over"
        )
    return pair


def _open_both(uris: tuple[str, str], schemas: tuple[pa.Schema, pa.Schema]) -> Pair:
    costs, ledger = map(DeltaTable.open, uris, schemas)
    return costs, ledger


def _is_broken(pair: Pair) -> bool:
    """Return whether only one exists, and has rows."""
    # A sync that was killed while creating the two leaves one without rows.
    existing = [each for each in pair if each is not None]
    return len(existing) == 1 and existing[0].has_rows()
