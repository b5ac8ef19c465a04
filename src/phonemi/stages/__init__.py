"""One stage of the work each, `run(run)`: reads earlier results of RUN, writes its own, skips what is done."""
