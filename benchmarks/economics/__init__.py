"""Studies of cost and of the decisions that rest on it, on simulated slots."""
