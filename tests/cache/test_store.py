"""The store in memory: lifetime, size and eviction."""

import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spot_billing_async import ConfigError
from spot_billing_async.cache import MemoryStore, Value
from spot_billing_async.cache.store import _ENTRY_BYTES
from tests.support import Clock


def room(entries: int) -> int:
    """Return the size of entries that have a key of one letter and ten bytes of data."""
    return entries * (_ENTRY_BYTES + 11)


def keep(store: MemoryStore, *keys: str, ttl_s: float = 100.0) -> None:
    store.keep({key: Value(b"0123456789", ttl_s) for key in keys})


def test_a_value_is_found_until_it_expires() -> None:
    """A value expires exactly at the end of its lifetime."""
    clock = Clock()
    store = MemoryStore(clock=clock)
    keep(store, "a", ttl_s=5.0)
    clock.now_s = 4.9
    assert store.get_local(["a", "b"]) == {"a": b"0123456789"}
    clock.now_s = 5.0
    assert store.get_local(["a"]) == {}
    assert store.size_bytes == 0


def test_the_least_recently_used_value_is_dropped_first() -> None:
    """A full store drops the least recently used value, and reading counts as use."""
    store = MemoryStore(room(3))
    keep(store, "a", "b", "c")
    store.get_local(["a"])
    keep(store, "d")
    assert store.get_local(["a", "b", "c", "d"]).keys() == {"a", "c", "d"}


def test_expired_values_are_dropped_first() -> None:
    """A full store drops an expired value before any other, even if it was used recently."""
    clock = Clock()
    store = MemoryStore(room(3), clock=clock)
    keep(store, "a", "b")
    keep(store, "c", ttl_s=1.0)
    clock.now_s = 2.0
    keep(store, "d")
    assert store.get_local(["a", "b", "c", "d"]).keys() == {"a", "b", "d"}


def test_a_value_larger_than_the_store_is_not_kept() -> None:
    """A value that is larger than the store is ignored, and no other value is dropped."""
    store = MemoryStore(room(1))
    keep(store, "a")
    store.keep({"b": Value(b"0" * 1000, 100.0)})
    assert store.get_local(["a", "b"]).keys() == {"a"}


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.binary(max_size=400), st.floats(0.1, 10.0)),
        max_size=60,
    ),
    st.integers(1, 3000),
)
def test_the_size_limit_holds(entries: list[tuple[str, bytes, float]], max_bytes: int) -> None:
    """Size and heap are bounded, the size is the sum of the entries, and no value is stale."""
    clock = Clock()
    store = MemoryStore(max_bytes, clock=clock)
    last = {}
    for key, data, ttl_s in entries:
        clock.now_s += 0.5
        store.keep({key: Value(data, ttl_s)})
        last[key] = data, clock.now_s + ttl_s
        assert store.size_bytes <= max_bytes
        assert len(store._expiries) <= 2 * len(store) + 1
    sizes = (len(key) + len(data) + _ENTRY_BYTES for key, (data, _) in store._entries.items())
    assert store.size_bytes == sum(sizes)
    for key, data in store.get_local("abcdef").items():
        assert last[key][0] == data
        assert last[key][1] > clock.now_s


def test_values_that_fill_the_store_exactly_are_kept() -> None:
    """A store holds as many bytes as its limit says, and one byte less is too few."""
    for max_bytes, kept in ((room(3), "abc"), (room(3) - 1, "bc")):
        store = MemoryStore(max_bytes)
        keep(store, *"abc")
        assert "".join(store.get_local("abc")) == kept
        assert repr(store) == f"MemoryStore({room(len(kept)):,} of {max_bytes:,} bytes)"
    assert repr(MemoryStore()) == "MemoryStore(0 of 67,108,864 bytes)"
    one = MemoryStore(room(1) - 1)
    keep(one, "a")
    assert len(one) == one.size_bytes == 0


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(1, 20)), max_size=60))
def test_no_value_is_dropped_while_another_has_expired(puts: list[tuple[str, int]]) -> None:
    """A full store drops a value that has not expired only if it holds none that has."""
    clock = Clock()
    store = MemoryStore(room(4), clock=clock)
    for key, ttl_s in puts:
        clock.now_s += 1
        before = dict(store._entries)
        keep(store, key, ttl_s=ttl_s)
        dropped = before.keys() - store._entries.keys()
        if any(before[each][1] > clock.now_s for each in dropped):
            assert all(expires_at_s > clock.now_s for _, expires_at_s in store._entries.values())


def test_a_value_that_is_stored_again_is_new() -> None:
    """Storing again replaces value, lifetime and size, and counts as use."""
    clock = Clock()
    store = MemoryStore(room(3), clock=clock)
    keep(store, "a", ttl_s=1.0)
    keep(store, "b", "c", ttl_s=50.0)
    keep(store, "a", ttl_s=100.0)
    assert store.size_bytes == room(3)
    clock.now_s = 2.0  # the first lifetime of `a` is over, the second is not
    keep(store, "d", ttl_s=100.0)
    assert store.get_local("abcd").keys() == {"a", "c", "d"}
    clock.now_s = 60.0
    keep(store, "e", ttl_s=100.0)
    assert store.get_local("abcde").keys() == {"a", "d", "e"}


def test_the_counted_size_is_the_used_memory() -> None:
    """The counted size is at least the memory used, and at most a fifth more."""
    store = MemoryStore()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for n in range(20_000):
        store.keep({f"spot-billing:{n:032d}:2024-01-01": Value(b"%0200d" % n, 100.0 + n)})
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert used <= store.size_bytes <= 1.2 * used


async def test_missing_keys_are_claimed() -> None:
    """A lookup claims every missing key, as no other process uses the store."""
    store = MemoryStore()
    keep(store, "a")
    lookup = await store.get_or_claim(["a", "b"])
    assert (lookup.found, list(lookup.claimed)) == ({"a": b"0123456789"}, ["b"])


@pytest.mark.parametrize("max_bytes", [0, -1, 1.5, True, "1"])
def test_an_invalid_size_limit_is_an_error(max_bytes: Any) -> None:
    """The size limit is an integer of at least 1."""
    with pytest.raises(ConfigError, match="max_bytes"):
        MemoryStore(max_bytes)
