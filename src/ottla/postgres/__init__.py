"""The PostgreSQL edge: connections, the inbox, and the migrations of their tables."""
