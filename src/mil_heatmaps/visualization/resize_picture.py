"""Make a finished picture smaller, as CLAM does: PIL's bicubic resampling."""

from collections.abc import Iterator

from PIL import Image

from mil_heatmaps.errors import ConfigError

Size = tuple[int, int]


def shrink(picture: Image.Image, custom_downsample: float = 1, max_size: int | None = None) -> Image.Image:
    """Return the picture divided by `custom_downsample`, then with its longer side at most `max_size`.

    The size for `max_size` is computed from the picture before `custom_downsample`, as in CLAM. A picture that is
    already small enough stays unchanged; CLAM may enlarge it again.
    """
    for size in _sizes(picture.size, custom_downsample, max_size):
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    return picture


def shrunk_size(size_px: Size, custom_downsample: float = 1, max_size: int | None = None) -> Size:
    """Return the size that `shrink` gives a picture of `size_px`."""
    return [size_px, *_sizes(size_px, custom_downsample, max_size)][-1]


def _sizes(size_px: Size, custom_downsample: float, max_size: int | None) -> Iterator[Size]:
    """Yield the sizes to which a picture is resized, one after the other."""
    if not custom_downsample >= 1:
        raise ConfigError(f"custom_downsample must be at least 1, got {custom_downsample}")
    if max_size is not None and max_size < 1:
        raise ConfigError(f"max_size must be at least 1, got {max_size}")
    width, height = size = size_px
    if custom_downsample > 1:
        size = max(1, int(width / custom_downsample)), max(1, int(height / custom_downsample))
        yield size
    if max_size is not None and max(size) > max_size:
        factor = max_size / max(width, height)
        yield (max_size, max(1, int(height * factor))) if width > height else (max(1, int(width * factor)), max_size)
