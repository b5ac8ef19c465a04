"""How much of the phones hidden states hold, in bits, and how far noise moves them."""
