"""Notifications: another group on the orders' topic, without a database."""
