"""The packaged seeds, one description a line: ``profiles.txt`` (facts only), ``personalities.txt`` (traits only)."""
