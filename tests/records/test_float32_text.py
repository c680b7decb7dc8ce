"""Numbers of float32 in tables, as numpy writes them."""

import numpy as np
import pytest

from mil_heatmaps.records.float32_text import float32_text

RNG = np.random.default_rng(0)
TENS = np.array([10.0**n for n in range(-45, 38)], np.float32)
VALUES = {
    "probabilities": RNG.random(3000, np.float32),
    "of every size": np.exp(RNG.uniform(-100, 40, 3000)).astype(np.float32),
    "powers of two": np.float32(2.0) ** np.arange(-149, 40, dtype=np.float32),
    "near one": 1 - 2.0 ** -np.arange(1, 26),
    "powers of ten": TENS,
    "just above": np.nextafter(TENS, np.float32(1e38)),
    "just below": np.nextafter(TENS, np.float32(0)),
    "fractions": [1 / n for n in range(1, 1500)],
    "odd ones": [0.0, -0.0, 1.0, 0.5, -0.25, float("nan"), float("inf"), 1e-4, 0.00019999999, 99999.99, 123456.7],
}


@pytest.mark.parametrize("name", VALUES)
def test_a_number_is_written_as_numpy_writes_it(name: str) -> None:
    for value in map(float, VALUES[name]):
        assert float32_text(value) == str(np.float32(value))
        assert float32_text(-value) == str(np.float32(-value))


def test_what_is_no_float_in_a_record_from_other_hands_is_written_as_by_numpy() -> None:
    assert float32_text(None) == "nan"  # type: ignore[arg-type]
    assert [float32_text(value) for value in (1, True, 3)] == ["1.0", "1.0", "3.0"]
