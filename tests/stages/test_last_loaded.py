"""A process keeps the model and the encoder it loaded last."""

from mil_heatmaps.stages.last_loaded import LastLoaded


def test_the_same_thing_is_loaded_once_and_another_one_takes_its_place() -> None:
    last: LastLoaded[list[str]] = LastLoaded()
    loads: list[str] = []

    def get(key: str) -> list[str]:
        def load() -> list[str]:
            loads.append(key)
            return [key]

        return last.get(lambda: key, load)

    first = get("a")
    assert get("a") is first
    assert get("b") == ["b"]
    assert get("a") == ["a"]
    assert loads == ["a", "b", "a"]


def test_the_key_is_that_of_what_was_loaded_even_if_loading_changes_it() -> None:
    """As weights that come into the hub's cache while an encoder is made."""
    last: LastLoaded[int] = LastLoaded()
    cache = ["empty"]

    def load() -> int:
        cache[0] = "full"
        return len(loads)

    loads: list[int] = []
    for _ in range(2):
        loads.append(last.get(lambda: cache[0], load))
    assert loads == [0, 0]
