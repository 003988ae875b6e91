"""`make compose-test`: the image and the Compose file, run as they are."""
