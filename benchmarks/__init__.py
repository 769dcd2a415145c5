"""Studies and measurements of what the library promises in figures; none calls a provider."""
