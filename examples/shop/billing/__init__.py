"""Billing: one invoice per order."""
