"""The spike: orders come faster than they are billed, and billing and Kafka are away. `make spike`."""
