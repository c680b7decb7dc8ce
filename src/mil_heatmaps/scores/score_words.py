"""Names of scores for readers: pictures never show the keys that configs and files use."""

from mil_heatmaps.scores.patch_scores import FOR_AND_AGAINST

_WHAT: dict[str, tuple[str, str]] = {
    "attention_logit": ("attention", "logits"),
    "attention_softmax": ("attention", "share of the slide"),
    "attention_mean": ("attention", "share of the slide, mean of heads"),
    "attention_gate": ("attention gate", "not normalised"),
    "attention_rollout": ("attention rollout", "share of the slide"),
    "nystrom_attention": ("attention", "Nyström approximation"),
    "class_contribution": ("contribution", "part of the logit"),
    "instance_logit": ("score of the patch alone", "logits"),
    "instance_probability": ("score of the patch alone", "probability"),
    "similarity": ("similarity", "dot product"),
    "leave_one_out": ("loss without the patch", ""),
    "single": ("output for the patch alone", ""),
    "gradient_x_input": ("gradient times input", ""),
    "integrated_gradients": ("integrated gradients", ""),
    "occlusion": ("loss without the patch's surroundings", ""),
    "mask_regression": ("weight in a linear model of the slide", ""),
}
"""Kind: its name, and its unit."""

_BEFORE_NAME = {"class_contribution": "to", "instance_logit": "for", "instance_probability": "for"}
_USUAL_NAMES = {"attention": "attention", "attention_mean": "attention", "attention_softmax": "attention"}


def score_words(score: str, kind: str | None, column: str | None = None, *, of_class: bool = False) -> str:
    """Return a score in words, such as ``attention of the class lesion, logits``.

    Parameters
    ----------
    score : str
        The model's name for the score, as in `heatmap_arguments.score`.
    kind : ScoreKind or None
        With None, the unit is left out.
    column : str, optional
        A class, output or head, where the score has several.
    of_class : bool
        Whether `column` is the name of a class.
    """
    name, unit = plain_words(score), ""
    if kind in _WHAT:
        usual, unit = _WHAT[kind]
        # A score with a name of its own (``tier1_gate``, ``attention_block0``) keeps that name.
        name = usual if score == kind or score in _USUAL_NAMES or score.startswith(f"{kind}_mean") else name
    if column is not None:
        name += f" {_BEFORE_NAME.get(kind or '', 'of')} {f'the class {column}' if of_class else plain_words(column)}"
    return f"{name}, {unit}" if unit else name


def plain_words(key: str) -> str:
    """Return a name as words: ``attention_block0`` becomes ``attention block 0``."""
    words = key.replace("_", " ").strip()
    head = words.rstrip("0123456789")
    return f"{head} {words[len(head) :]}" if head and head != words and head[-1].isalpha() else words


def is_signed(kind: str | None) -> bool:
    """Whether the sign of the scores separates for from against."""
    return kind in FOR_AND_AGAINST
