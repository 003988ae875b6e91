"""What operators and machines ask a running service over HTTP: is it alive, is it ready, how is it doing."""

from __future__ import annotations

from ottla.admin.answers import Probes
from ottla.admin.server import AdminEndpoint

__all__ = ["AdminEndpoint", "Probes"]
