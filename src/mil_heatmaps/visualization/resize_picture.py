"""Make a finished picture smaller, as CLAM does: PIL's bicubic resampling."""

from PIL import Image

from mil_heatmaps.errors import ConfigError


def shrink(picture: Image.Image, custom_downsample: float = 1, max_size: int | None = None) -> Image.Image:
    """Return the picture divided by `custom_downsample`, then with its longer side at most `max_size`.

    The size for `max_size` is worked out from the picture before `custom_downsample`, as in CLAM; unlike
    CLAM, which can enlarge a picture here again, a picture that is small enough already stays as it is.
    """
    if not custom_downsample >= 1:
        raise ConfigError(f"custom_downsample must be at least 1, got {custom_downsample}")
    if max_size is not None and max_size < 1:
        raise ConfigError(f"max_size must be at least 1, got {max_size}")
    width, height = picture.size
    if custom_downsample > 1:
        size = max(1, int(width / custom_downsample)), max(1, int(height / custom_downsample))
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    if max_size is not None and max(picture.size) > max_size:
        factor = max_size / max(width, height)
        if width > height:
            size = max_size, max(1, int(height * factor))
        else:
            size = max(1, int(width * factor)), max_size
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    return picture
