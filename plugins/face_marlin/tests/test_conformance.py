from __future__ import annotations

from expotion.testing import check_encoder
from expotion_face_marlin import expotion_encoders


def test_conformance() -> None:
    for spec in expotion_encoders():
        assert check_encoder(spec)
