"""Colour tables."""

import numpy as np
import pytest
from matplotlib import colormaps

from mil_heatmaps.errors import ConfigError
from mil_heatmaps.visualization.palette import colour_index, colour_table


@pytest.mark.parametrize("name", ["jet", "coolwarm", "twilight", "tab10", "gray_r"])
def test_table_lookup_equals_matplotlib_at_every_value(name: str) -> None:
    values = np.concatenate((np.linspace(0, 1, 4001), [0.0, 1.0, np.nextafter(1, 0)]))
    expected = (colormaps[name](values)[:, :3] * 255).astype(np.uint8)
    table = colour_table(name)
    np.testing.assert_array_equal(table[colour_index(values, len(table))], expected)


def test_every_colormap_of_matplotlib_has_a_table() -> None:
    assert all(colour_table(name).shape[1] == 3 for name in colormaps)


def test_values_beyond_the_range_take_the_end_colours() -> None:
    np.testing.assert_array_equal(colour_index(np.array([-0.5, 0.0, 1.0, 7.0]), 256), [0, 0, 255, 255])


@pytest.mark.parametrize(
    ("typed", "meant"), [("Jet", "jet"), ("virdis", "viridis"), ("cool_warm", "coolwarm")]
)
def test_unknown_colormap_names_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown colormap '{typed}'.*'{meant}'"):
        colour_table(typed)


def test_tables_cannot_be_changed_by_accident() -> None:
    with pytest.raises(ValueError, match="read-only"):
        colour_table("jet")[0] = 0
