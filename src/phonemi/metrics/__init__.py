"""Enhanced, noisy and clean recordings -> scores that keep their reason when they fail, and tables with intervals.

| module | turns | into |
|---|---|---|
| `score` | one number per utterance, or the reason why there is none | mean, interval, `scored` / `total`, reasons |
| `statistics` | the same number for two systems | paired difference, interval, p-value |
| `intrusive` | estimate and clean waveform | SI-SDR, SI-SDR improvement, STOI, wide-band PESQ |
| `non_intrusive` | a waveform alone | DNSMOS P.835 and P.808 |
| `words` | waveform and transcript | words heard, word error rate |
| `pocketsphinx`, `whisper` | waveform | words heard: two recognisers |
"""
