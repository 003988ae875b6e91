"""The services under test: the shop's billing as it is, a bank, and one without a database."""
