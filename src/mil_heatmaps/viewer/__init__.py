"""The viewer: slides and maps in the browser. ``mil_heatmaps.viewer.show(run)`` shows them in a notebook."""


def __getattr__(name: str) -> object:
    """Give `show`, and load what it needs only when it is asked for."""
    if name != "show":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mil_heatmaps.viewer.notebook import show

    return show
