"""When a slide gets a fine map: patches with overlap, encoded and scored."""


def makes_fine_map(*, calc_heatmap: object, encoder: object, own_scores: object) -> bool:
    """Whether a slide gets a fine map.

    Parameters
    ----------
    calc_heatmap : heatmap_arguments.calc_heatmap
    encoder : encoder_arguments.model_name, or None
    own_scores : the slide's own score file (data_arguments.scores_dir), or None
        Scores that are given are drawn as they are: nothing is encoded.
    """
    return bool(calc_heatmap and encoder and not own_scores)
