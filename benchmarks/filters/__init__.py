"""How well filters judge a labelled gallery, and what they cost in time and memory."""
