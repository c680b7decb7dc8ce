"""The viewer: slides and maps in the browser. ``mil_heatmaps.viewer.show(run)`` shows them in a notebook."""


def __getattr__(name: str) -> object:
    """Return `show`; what it needs is imported on first use."""
    if name != "show":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mil_heatmaps.viewer.notebook import show

    return show
