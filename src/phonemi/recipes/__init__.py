"""Several stages one after the other: the quickstart and the tables of the paper."""
