"""The command line of the benchmarks, and what peers are generated from."""

import pytest

from benchmarks.__main__ import PARTS, arguments
from benchmarks.harness.contract import COST_ITEM, with_cost_items
from benchmarks.parts.growth import fitted


def test_help_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    """It names the options and the parts, and measures nothing."""
    with pytest.raises(SystemExit) as ended:
        arguments(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("--quick", "--only", "--out", *PARTS))


def test_a_part_that_is_unknown_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """It ends as a usage error, which says what is allowed."""
    with pytest.raises(SystemExit) as ended:
        arguments(["--only", "nothing"])
    assert ended.value.code == 2
    assert "calls" in capsys.readouterr().err


def test_the_contract_gets_its_rows_in_a_copy() -> None:
    """Cost analysis answers with an envelope of rows; the contract itself stays as it is."""
    ok: dict[str, object] = {"description": "Successful response"}
    contract = {
        "components": {"schemas": {}},
        "paths": {"/billingEngine/cost": {"get": {"responses": {"200": ok}}}},
    }
    filled = with_cost_items(contract)
    assert filled["components"]["schemas"]["CostItem"] == COST_ITEM
    answer = filled["paths"]["/billingEngine/cost"]["get"]["responses"]["200"]["content"]
    assert answer["application/json"]["schema"]["$ref"].endswith("/CostAnalysisResponse")
    assert contract["components"] == {"schemas": {}}
    assert "content" not in ok


def test_a_curve_is_fitted_as_a_whole_and_at_its_end() -> None:
    """What is flat at first and grows later has a smaller exponent as a whole than at its end."""
    curve = fitted([(1, 1.0), (10, 1.0), (100, 1.0), (1_000, 10.0), (10_000, 100.0)])
    assert curve["exponent_at_end"] == pytest.approx(1)
    assert 0 < curve["exponent"] < 1
