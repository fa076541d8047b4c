"""What ``import aloe`` offers, thin over the functions of the command line (docs/library.md)."""
