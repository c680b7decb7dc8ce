"""`from src.visualization.heatmap_utils import draw_heatmap`, in a checkout: the names of `src.visualization`."""

from src.visualization import __all__ as __all__
from src.visualization import __dir__ as __dir__
from src.visualization import __getattr__ as __getattr__
