"""Carries out `ottla doctor`: asks the world, and has `core/diagnosis` say what the answers mean."""

from __future__ import annotations
