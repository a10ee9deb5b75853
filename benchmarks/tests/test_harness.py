"""Peers in processes of their own, against a server in another; and what is missing is named."""

import sys
from pathlib import Path

import pytest

from benchmarks.harness import contract, serving
from benchmarks.harness.contract import filled_contract
from benchmarks.harness.environment import Environment
from benchmarks.harness.processes import Peer, PeerError, in_turns, once
from benchmarks.harness.task import Task
from benchmarks.parts.plot import plot


def test_peers_are_measured_in_turns_and_one_that_fails_is_named() -> None:
    """The others go on; each tells CPU, time, memory, and its versions."""
    peers = [
        Peer("floor", "bare", sys.executable),
        Peer("absent", "no_such_peer", sys.executable),
        Peer("this", "this_get", sys.executable),
    ]
    with serving.serving(10, kind="canned") as server:
        met, missing = in_turns(peers, server, 10, rounds=2, round_s=0.02)
    assert [each.peer.name for each in met] == ["floor", "this"]
    assert all(len(each.measured) == len(each.server_share) == 2 for each in met)
    assert all(m.cpu_s > 0 and m.wall_s > 0 and m.peak_mib > 1 for e in met for m in e.measured)
    assert met[0].versions.keys() == {"aiohttp", "msgspec"}
    assert len(missing) == 1
    assert missing[0].startswith("absent: ModuleNotFoundError")


@pytest.mark.parametrize("module", ["bare", "raw", "this_get", "this_pull"])
def test_each_peer_of_this_project_brings_every_row(module: str) -> None:
    """They do the same job."""
    with serving.serving(3, kind="canned") as server:
        task = Task(server.base_url, 40, concurrency=4)
        assert once(Peer(module, module, sys.executable), task).rows == 120


def test_without_nginx_the_canned_server_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named as what it is."""
    monkeypatch.setattr(serving, "nginx", lambda: None)
    with serving.serving(1) as server:
        assert server.kind == "canned"
        assert server.cpu_s() >= 0


def test_a_latency_is_kept() -> None:
    """The first outcome cannot be there before the server answers."""
    with serving.serving(1, latency_s=0.05) as server:
        task = Task(server.base_url, 1, concurrency=1, planned=1000)
        measured = once(Peer("this", "this_pull", sys.executable), task)
    assert measured.extra["first_s"] >= 0.05


def test_a_contract_that_is_missing_is_a_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing is generated, and the run can say why."""
    monkeypatch.setattr(contract, "CONTRACT", tmp_path / "absent.yml")
    with pytest.raises(PeerError, match="not beside this checkout"):
        filled_contract(tmp_path)


def test_what_cannot_be_installed_is_a_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The environment of peers fails for one of them, not for the run."""
    monkeypatch.setattr("venv.create", lambda *_, **__: None)
    monkeypatch.setattr(Environment, "python", "/bin/false")
    with pytest.raises(PeerError):
        Environment(tmp_path).install(["anything"])


def test_without_matplotlib_a_plot_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The run goes on, and says so."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert plot(tmp_path / "growth.png", "slices", {}) == [
        "growth.png was not drawn, as matplotlib is not installed"
    ]
