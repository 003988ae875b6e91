"""The shell around the core: the only place with tasks and time-outs."""
