"""Films over a slide and its map."""
