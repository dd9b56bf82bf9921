"""Loopback servers that speak the vendors' wire protocols, good and bad, for tests of adapters and SDKs."""
