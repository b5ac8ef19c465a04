"""Probes: classifiers that predict the phone of a frame from its hidden states, and so measure what the states hold.

`LayerProbes` classify every layer by itself, for the analysis. `AggregationProbe` classifies the weighted sum of the
layers, and pre-trains the weights with it.
"""
