"""Every test here runs in the world of lamps (tests/shared)."""

import pytest


@pytest.fixture(autouse=True)
def _lamps(in_the_world_of_lamps: None) -> None:
    pass
