"""What Ottla's speed is measured with; every figure is a ratio or a budget of one run on one machine."""
