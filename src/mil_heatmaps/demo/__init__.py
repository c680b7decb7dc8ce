"""A small cohort made on the spot: real texture, lesions of known place, features, a model trained on it."""
