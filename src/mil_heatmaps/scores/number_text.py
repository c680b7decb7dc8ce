"""Numbers as pictures and pages show them. Tables and files keep the plain hyphen, which programs can read."""


def number_words(value: float, digits: int = 4) -> str:
    """Return a number with so many significant digits and a true minus sign, also in its exponent."""
    return with_minus(f"{value:.{digits}g}")


def with_minus(number: str) -> str:
    """Return the text of a number with true minus signs."""
    return number.replace("-", "\N{MINUS SIGN}")
