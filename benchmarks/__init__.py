"""Studies of what the library promises in figures; none of them calls a provider."""
