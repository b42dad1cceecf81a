"""Serving: recognition seen from a browser on this machine."""
