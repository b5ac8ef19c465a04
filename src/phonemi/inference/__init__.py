"""Enhancing files and folders; long recordings in overlapping chunks.

plan          which files are read and where their enhanced versions go
record        what made each output, so that only what would come out the same is skipped
recordings    the way of recordings: read, cut, enhanced in batches, joined, written; what fails stops no other
chunks        cutting recordings into overlapping chunks, and joining them; what an enhancer of chunks offers
shards        tar files of recordings, in the layout of webdataset
remote        recordings behind URLs
corpus        all these together, task by task
on_ray        the same by the workers of Ray
condition     what a listener should know of a recording: it is clipped, narrow-band or clean already
streams       standard input and output
summary       a sentence and a JSON object about what became of the files
rows          a table on disk about it
"""
