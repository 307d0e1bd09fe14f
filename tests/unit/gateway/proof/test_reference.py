import pytest

from gateway.bootstrap import Checked
from gateway.proof.run import prove

pytestmark = [pytest.mark.slow, pytest.mark.alone]


@pytest.mark.slow
@pytest.mark.parametrize("system", ["erp", "oms", "pos"])
async def test_a_system_of_the_reference_estate_holds_the_top_tier(reference: Checked, system: str) -> None:
    proof = await prove(reference, system, environment={})
    assert [(r.case, r.came) for r in proof.failed] == []
    assert proof.tier == "gold"
    assert proof.seconds < 60
