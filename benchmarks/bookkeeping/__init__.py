"""How long a large checkpoint takes to open, to sum up and to grow."""
