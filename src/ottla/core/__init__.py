"""The rules, pure: no await, client, clock, chance, logging or environment; what changes is an argument."""
