"""From checkpoint files to models: layouts, identity, report, `create_model`."""
