"""Command lines: parse, call, print. Heavy imports come after the arguments are parsed."""
