"""The slides of a run: process lists, finding a slide's files, shards, `SlideJob`."""
