"""Tensors -> tensors: representations, aggregations, probes, the mask enhancer and the enhancer that joins them."""
