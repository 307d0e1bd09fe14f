from pathlib import Path

import pytest

from gateway.bootstrap import Checked, check

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="session")
def reference() -> Checked:
    return check(ROOT)
