"""A container for the parts of a network."""

from typing import Any

from torch import nn


class Parts(nn.Module):
    """Named modules and parameters in one module, so that state-dict keys read as MIL-Lab's: ``model.<part>...``."""

    def __init__(self, **parts: nn.Module | nn.Parameter) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)

    def __getattr__(self, name: str) -> Any:  # typed as Any: parts are modules of different classes
        return super().__getattr__(name)
