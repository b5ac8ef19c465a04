"""Metrics of enhanced speech, and statistics over utterances. A metric that cannot be computed keeps the reason."""
