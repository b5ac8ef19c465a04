"""Speech encoders: waveforms [batch, sample] -> hidden states [layer, batch, frame, dim]."""
