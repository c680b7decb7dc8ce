"""A small generated cohort: real texture, lesions at known places, features, a model trained on it."""
