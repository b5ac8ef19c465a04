"""Train any model on any batches, in a folder where an interrupted training goes on; knows neither audio nor phones.

loop         fit(): the one training loop, exact to resume
settings     FitSettings: how to train
state        what a training consists of, and its single steps
checkpoint   last.pt and best.safetensors, each whole or absent
distributed  several processes, one for each GPU
tracking     RUN/log.jsonl, and TensorBoard where it is installed
"""
