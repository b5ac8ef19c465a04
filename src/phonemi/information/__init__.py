"""How much of the phones is in the features, in bits."""
