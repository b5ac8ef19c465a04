"""Model + batches + loss -> trained weights in a folder that survives any interruption; knows neither audio nor phones.

loop        fit(): the one training loop, exact to resume
checkpoint  last.pt and best.safetensors, each whole or absent; signals held back until a step is complete
progress    bars with the time left on a terminal, plain lines elsewhere
tracking    RUN/log.jsonl, and TensorBoard where it is installed
"""
