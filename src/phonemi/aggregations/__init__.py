"""Aggregations: hidden states of all layers in, one sequence [batch, frame, dim] out."""
