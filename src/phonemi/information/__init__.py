"""How much of the phones hidden states hold, in bits."""
