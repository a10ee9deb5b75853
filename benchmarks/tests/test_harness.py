"""Peers and servers in processes of their own, and reasons for missing ones."""

# ruff: noqa: PLR2004  a test states its expected figures in place

import sys
from pathlib import Path

import pytest

from benchmarks.harness import contract, serving
from benchmarks.harness.contract import filled_contract
from benchmarks.harness.environment import Environment
from benchmarks.harness.processes import Peer, PeerError, run_interleaved, run_once
from benchmarks.harness.task import Task
from benchmarks.parts.plot import plot


def test_a_peer_that_fails_does_not_end_the_measurement_of_others() -> None:
    """The other peers return CPU, time, memory and versions; the failed one has a reason."""
    peers = [
        Peer("floor", "bare", sys.executable),
        Peer("absent", "no_such_peer", sys.executable),
        Peer("this", "this_get", sys.executable),
    ]
    with serving.serving(10, kind="canned") as server:
        results, failures = run_interleaved(peers, server, 10, rounds=2, round_s=0.02)
    assert [each.peer.name for each in results] == ["floor", "this"]
    assert all(len(each.measurements) == len(each.server_share) == 2 for each in results)
    assert all(
        m.cpu_s > 0 and m.wall_s > 0 and m.peak_mib > 1 for e in results for m in e.measurements
    )
    assert results[0].versions.keys() == {"aiohttp", "msgspec"}
    assert len(failures) == 1
    assert failures[0].startswith("absent: ModuleNotFoundError")


@pytest.mark.parametrize("module", ["bare", "raw", "this_get", "this_pull"])
def test_each_peer_of_this_project_decodes_every_row(module: str) -> None:
    """Each peer of this project decodes every row of every response."""
    with serving.serving(3, kind="canned") as server:
        task = Task(server.base_url, 40, concurrency=4)
        assert run_once(Peer(module, module, sys.executable), task).rows == 120


def test_without_nginx_the_canned_server_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without nginx the canned server serves, and the figures name it."""
    monkeypatch.setattr(serving, "nginx", lambda: None)
    with serving.serving(1) as server:
        assert server.kind == "canned"
        assert server.cpu_s() >= 0


def test_a_latency_delays_the_first_outcome() -> None:
    """The first outcome is not available before the server responds."""
    with serving.serving(1, latency_s=0.05) as server:
        task = Task(server.base_url, 1, concurrency=1, planned=1000)
        measurement = run_once(Peer("this", "this_pull", sys.executable), task)
    assert measurement.extra["first_s"] >= 0.05


def test_a_missing_contract_has_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the contract nothing is generated, and the error names the reason."""
    monkeypatch.setattr(contract, "CONTRACT", tmp_path / "absent.yml")
    with pytest.raises(PeerError, match="not beside this checkout"):
        filled_contract(tmp_path)


def test_a_failed_installation_has_a_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A failed installation is an error of that peer, not of the run."""
    monkeypatch.setattr("venv.create", lambda *_, **__: None)
    monkeypatch.setattr(Environment, "python", "/bin/false")
    with pytest.raises(PeerError):
        Environment(tmp_path).install(["anything"])


def test_without_matplotlib_a_note_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without matplotlib the run continues, and a note names the extra."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert plot(tmp_path / "growth.png", "slices", {}) == [
        "growth.png needs matplotlib: pip install '.[benchmarks]'"
    ]
