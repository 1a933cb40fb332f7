"""What is measured: environments as a manifest names them, and the tokens a completion gets."""

from dataclasses import dataclass

from rlswarm.scorer.messages import EnvironmentSpec

SHORT = 24
"""Tokens of a completion that is only an answer."""


@dataclass(frozen=True)
class Case:
    """One line of the table: an environment, or a weighted mix."""

    name: str
    environments: tuple[EnvironmentSpec, ...]
    tokens: int = SHORT


def _one(
    name: str, about: str = "", *, shots: int = 3, tokens: int = SHORT, **config: object
) -> Case:
    spec = EnvironmentSpec(name, shots=shots, config=config)
    return Case(f"{name}, {about}" if about else name, (spec,), tokens)


_MIX = (
    EnvironmentSpec("letter_counting", 3, 3, {"min_words": 3, "max_words": 6}),
    EnvironmentSpec("products", 2, 3, {"max_digits": 1}),
    EnvironmentSpec("chain_sum", 2, 3, {"max_terms": 2, "max_digits": 1}),
    EnvironmentSpec("spell_backward", 1, 3, {"max_word_len": 4}),
)

CASES = (
    _one("letter_counting", "1-3 words", min_words=1, max_words=3),
    _one("letter_counting", "3-6 words", min_words=3, max_words=6),
    _one("products", "1 digit", max_digits=1),
    _one("products", "2-3 terms of 1 digit", max_terms=3, max_digits=1),
    _one("chain_sum", "2 terms of 1 digit", max_terms=2, max_digits=1),
    _one("chain_sum", "2 terms of 1-2 digits", max_terms=2, max_digits=2),
    _one("decimal_chain_sum", "2 terms", max_terms=2, max_digits=1, max_decimal_places=1),
    _one("basic_arithmetic", "2 terms of 1 digit", max_terms=2, max_digits=1),
    _one("gcd", "to 10", max_value=10),
    _one("gcd", "to 60", max_value=60),
    _one("lcm", "to 12", max_value=12),
    _one("count_bits", "to 15", max_n=15),
    _one("count_bits", "to 255", max_n=255),
    _one("count_primes", "to 30", max_n=30),
    _one("base_conversion", "to 100", max_base=10, max_value=100),
    _one("fraction_simplification", "to 12", max_value=12, max_factor=4, styles=["plain"]),
    _one("prime_factorization", "to 50", max_value=50),
    _one("simple_equations", "2 terms", max_terms=2, max_value=10),
    _one("bitwise_arithmetic", "difficulty 1", difficulty=1),
    _one("number_sequence", "4 terms", max_terms=4, min_value=0, max_value=20, max_complexity=1),
    _one("leg_counting", "2 animals", min_animals=2, max_animals=2, max_instances=3),
    _one("spell_backward", "3-4 letters", max_word_len=4),
    _one("word_sorting", "3 words", max_words=3),
    _one("number_sorting", "3 numbers", max_numbers=3, max_decimals=0, tokens=32),
    _one("isomorphic_strings", "2-4 letters", max_string_length=4),
    _one("ransom_note", "to 4 letters", max_note_length=4, max_magazine_length=8),
    _one("binary_alternation", "10-12 digits", max_n=12),
    _one("calendar_arithmetic"),
    _one("syllogism"),
    _one("aiw"),
    _one("family_relationships", "4 people", max_family_size=4),
    _one("caesar_cipher", "3 words", max_words=3),
    _one("simple_geometry"),
    _one("maths", shots=2, tokens=96),
    _one("code", shots=1, tokens=96),
    Case("mix of four, by weight 3:2:2:1", _MIX),
)
