"""How many images a second a client makes, and what each costs it in CPU, beside its peers."""
