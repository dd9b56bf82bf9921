"""Settings of all tests."""

from hypothesis import HealthCheck, settings

# How fast examples come is a fact of the machine, which may be busy.
settings.register_profile("betterai", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("betterai")
