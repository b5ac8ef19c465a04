"""Metrics of enhanced speech, and statistics over utterances. A metric that cannot be computed keeps the reason.

| module | what it has |
|---|---|
| `score` | the value of one utterance, or the reason why there is none; mean and interval over utterances |
| `statistics` | bootstrap intervals, paired differences of two systems, permutation tests |
| `intrusive` | metrics that compare with the clean speech: SI-SDR and its improvement, STOI, wide-band PESQ |
| `non_intrusive` | metrics of a waveform alone: DNSMOS |
| `words` | speech recognisers and word error rates |
"""
