"""Speech encoders: waveforms [batch, sample] in, hidden states [layer, batch, frame, dim] out; frozen or trained."""
