"""The edge to Kafka: the only package that knows the client library."""
