"""The pages under docs/: what in them is generated, and the tests that hold them to the code."""
