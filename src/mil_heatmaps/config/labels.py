"""Names of classes, from `data_arguments.label_dict`: labels to numbers of the model's outputs."""

from collections.abc import Mapping


def class_names_by_number(label_dict: Mapping[str, int]) -> dict[int, str]:
    """Return what each class is called: all its labels joined by ``/``, in the order of `label_dict`."""
    names: dict[int, str] = {}
    for label, number in label_dict.items():
        names[number] = f"{names[number]}/{label}" if number in names else label
    return names
