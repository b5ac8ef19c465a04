"""How much information hidden states carry about the phones, in bits."""
