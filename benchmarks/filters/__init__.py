"""What filters cost in time and memory."""
