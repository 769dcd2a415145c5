"""The commands that look at a checkpoint or a config; each is one module with a `main`."""
