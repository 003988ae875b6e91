"""The demo: real orders billed once, though a billing process is killed in the middle. `make demo`."""
