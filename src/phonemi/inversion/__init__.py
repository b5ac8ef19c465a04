"""Hearing the articulators: vocal tract variables, from pellets on the tongue and lips, and what the voice does."""
