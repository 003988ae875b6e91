"""Dead letters: read, sent to be handled again, or given up; what became of each is kept on the cluster."""
