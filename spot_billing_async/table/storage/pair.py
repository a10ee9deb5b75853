"""Costs and ledger belong together: alone, neither says what is there."""

import pyarrow as pa

from spot_billing_async.table.storage.delta import DeltaTable, TableError, check_place

Pair = tuple[DeltaTable | None, DeltaTable | None]
"""Costs and ledger; None for what is not made."""


def opened_pair(
    places: tuple[str, str], schemas: tuple[pa.Schema, pa.Schema], *, to_write: bool
) -> Pair:
    """The costs and the ledger at their places, None for one that is not made yet.

    Raises:
        ConfigError: something else is at a place.
        TableError: one cannot be read (or written), or one is gone that the other needs.
    """
    for place in places:
        check_place(place, to_write=to_write)
    pair = _looked_up(places, schemas)
    if _is_broken(pair):
        pair = _looked_up(places, schemas)  # another sync may have made both between two looks
    if _is_broken(pair):
        there, gone = places if pair[1] is None else reversed(places)
        raise TableError(
            f"{there} is there, and {gone} is gone, without which it says nothing; restore "
            f"{gone}, or delete (or move) {there} as well to begin anew"
        )
    return pair


def _looked_up(places: tuple[str, str], schemas: tuple[pa.Schema, pa.Schema]) -> Pair:
    costs, ledger = map(DeltaTable.opened, places, schemas)
    return costs, ledger


def _is_broken(pair: Pair) -> bool:
    """Whether there is one with rows; an empty one may be of a making that was interrupted."""
    there = [each for each in pair if each is not None]
    return len(there) == 1 and there[0].has_rows()
