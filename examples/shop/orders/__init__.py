"""Orders: takes orders over HTTP, stores each, and tells of it."""
