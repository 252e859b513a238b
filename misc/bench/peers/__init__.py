"""The contenders of the round-trip benchmark: wattbus and what it is measured beside, each in a process of its own."""
