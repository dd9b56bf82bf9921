"""Measures the engine beside a bare byte relay on the same machine; start with `python -m bench.run --quick`."""
