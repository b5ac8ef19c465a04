"""Words: recognisers, and how many words of an utterance they get wrong."""
