"""Where one request goes: pure functions of its head, one snapshot and the dice. No I/O, no clock, no YAML."""
