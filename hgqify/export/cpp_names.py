"""Names that a function of C++ can have."""

import re

# ISO/IEC 14882:2020, 5.11 [lex.key], with the alternative tokens.
_KEYWORDS = """
alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t char32_t char8_t class
co_await co_return co_yield compl concept const const_cast consteval constexpr constinit continue decltype
default delete do double dynamic_cast else enum explicit export extern false float for friend goto if inline
int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public register
reinterpret_cast requires return short signed sizeof static static_assert static_cast struct switch template
this thread_local throw true try typedef typeid typename union unsigned using virtual void volatile wchar_t
while xor xor_eq
"""
# What the files of a project call otherwise.
_TAKEN = frozenset({"hls", "main", "nnet", "std"})


def is_function_name(name: str) -> bool:
    """Whether a project's top function can be called so."""
    return bool(re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII)) and name not in _TAKEN.union(_KEYWORDS.split())
