"""The stages of a slide, and the walk through them."""
