"""How well the technical filters judge a labelled gallery, and what they cost."""
