"""The command line, the contract for generated peers, and fitted curves."""

# ruff: noqa: PLR2004  a test states its expected figures in place

import pytest

from benchmarks.__main__ import PARTS, parse_arguments
from benchmarks.harness.contract import COST_ITEM, with_cost_items
from benchmarks.parts.growth import fitted


def test_help_names_options_and_parts(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` prints options and parts, and measures nothing."""
    with pytest.raises(SystemExit) as ended:
        parse_arguments(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("--quick", "--only", "--out", *PARTS))


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The command exits with a usage error that names the allowed parts."""
    with pytest.raises(SystemExit) as ended:
        parse_arguments(["--only", "nothing"])
    assert ended.value.code == 2
    assert "calls" in capsys.readouterr().err


def test_the_schema_of_rows_is_added_to_a_copy() -> None:
    """Cost analysis returns an envelope of rows in the copy; the contract is not changed."""
    ok: dict[str, object] = {"description": "Successful response"}
    contract = {
        "components": {"schemas": {}},
        "paths": {"/billingEngine/cost": {"get": {"responses": {"200": ok}}}},
    }
    filled = with_cost_items(contract)
    assert filled["components"]["schemas"]["CostItem"] == COST_ITEM
    content = filled["paths"]["/billingEngine/cost"]["get"]["responses"]["200"]["content"]
    assert content["application/json"]["schema"]["$ref"].endswith("/CostAnalysisResponse")
    assert contract["components"] == {"schemas": {}}
    assert "content" not in ok


def test_a_curve_is_fitted_as_a_whole_and_at_its_end() -> None:
    """A curve that is flat first and grows later has a larger exponent at its end."""
    curve = fitted([(1, 1.0), (10, 1.0), (100, 1.0), (1_000, 10.0), (10_000, 100.0)])
    assert curve["exponent_at_end"] == pytest.approx(1)
    assert 0 < curve["exponent"] < 1
