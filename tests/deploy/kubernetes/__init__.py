"""The manifests of deploy/kubernetes before a real API server."""
