"""Services to read and to run: each folder is one system."""
