"""What `ottla doctor` makes of what it was told: findings with their cures, and what to conclude."""

from __future__ import annotations
