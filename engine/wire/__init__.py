"""Pure formats: bytes in, values out; no input, no output, no clock."""
