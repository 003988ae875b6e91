"""What deploys: run, or asked by the tools that read it."""
