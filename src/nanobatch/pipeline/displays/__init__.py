"""Ways to show a person how a run stands: a terminal, a notebook, a log."""
