"""The stages of a slide, and the code that runs them."""
