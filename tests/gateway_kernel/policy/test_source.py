"""YAML without surprises, and the exact place of everything in it."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_kernel.errors import PolicyError
from gateway_kernel.policy.source import MAX_SIZE, Mapping, Scalar, ScalarMap, find, parse, plain


def value_of(text: str) -> object:
    return plain(parse(f"v: {text}", "p.yaml")[0])["v"]


def problems(text: str | bytes) -> tuple[str, ...]:
    with pytest.raises(PolicyError) as caught:
        parse(text, "p.yaml")
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("2026-01-01", "2026-01-01"),
        ("true", True),
        ("~", None),
        ("7", 7),
        ("'7'", "7"),
        ("'null'", "null"),
    ],
)
def test_scalars_mean_what_they_show(text: str, value: object):
    """The core schema of YAML 1.2: `no` is a word, a time is text, a quoted number is text."""
    assert value_of(text) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\na: 2\n", "p.yaml:2:1: the key 'a' stands twice; the first is in line 1"),
        ("a: &x 1\n", "p.yaml:1:4: an anchor (&x); write the value out where it is needed"),
        ("a: 1\nb:\n  <<: {c: 1}\n", "p.yaml:3:3: a merge key; write the values out, so that a reader sees what holds"),
        (
            "a: !!python/name:os.system x\n",
            "p.yaml:1:4: a tag (tag:yaml.org,2002:python/name:os.system); a policy has plain values only",
        ),
        ("a: 1\n---\nb: 2\n", "p.yaml:2:1: a second document starts here; a policy is one document"),
        ("a:\n\tb: 1\n", "p.yaml:2:1: a tab cannot indent YAML; use spaces"),
        ("", "p.yaml:1:1: the document is empty; a policy starts with `version: 1`"),
        ("a: 1.5\n", "p.yaml:1:4: 1.5 is a fraction, which has no exact form; write it in quotes"),
        (
            "a: 9007199254740993\n",
            "p.yaml:1:4: 9007199254740993 is outside the exact range of JSON; write it in quotes",
        ),
        ("1: x\n", "p.yaml:1:1: the key '1' is not text; write it in quotes"),
        ("? [a]\n: b\n", "p.yaml:1:3: a key must be text"),
        ('a: "\\ud800"\n', "p.yaml:1:4: an escape that is half a character (a lone surrogate)"),
        ("a: b: c\n", "p.yaml:1:5: a `:` that starts no key; put the text in quotes, or check the indentation"),
        ("a: \x01\n", "p.yaml:1:4: the character U+0001 may not stand in a YAML document"),
    ],
)
def test_what_surprises_is_refused(text: str, problem: str):
    """Each thing that makes a document mean more than it shows is an error with its place."""
    assert problem in problems(text)


def test_bytes_that_are_not_utf8_have_a_place():
    """A policy in another encoding says where the first foreign byte is."""
    assert problems(b"a: 1\nb: \xff\n") == ("p.yaml:2:4: this is not UTF-8 text",)


def test_aliases_cannot_multiply():
    """A document of ten lines that would expand to billions of values is refused before anything expands."""
    bomb = "a0: &a0 x\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))
    assert any("an alias" in problem for problem in problems(bomb))


def test_depth_and_size_are_bounded():
    """Nesting and length have limits, said plainly."""
    assert any("nested more than" in problem for problem in problems("[" * 5000))
    assert "more than the" in problems("a: " + "x" * MAX_SIZE)[0]


STYLES = [
    "when: a == b && c.dd",
    "when: 'a == ''b'' && c.dd'",
    'when: "a == \\"b\\" \\u0026& c.dd"',
    "when: |\n    a == b\n    && c.dd\n",
    "when: >-\n    a == b\n    && c.dd\n\n    || e\n",
    "when: >  # folded\n  a ==\n     b\n  && c.dd\n",
    "when: a == b\n    && c.dd",
    'when: "a == b \\\n    && c.dd"',
]


@pytest.mark.parametrize("text", STYLES)
def test_a_place_inside_a_scalar_is_exact(text: str):
    """Plain, quoted, literal and folded: the place of `dd` in the value is the place of `dd` in the file."""
    root, source = parse(text, "p.yaml")
    scalar = find(root, "when")
    assert isinstance(scalar, Scalar)
    place = ScalarMap(source, scalar).place(scalar.text.index("dd"))
    assert source.split("\n")[place.line - 1][place.column - 1 :].startswith("dd")


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp", "Zs")), min_size=1),
    st.sampled_from("'\""),
)
def test_every_character_of_a_quoted_scalar_is_found(text: str, quote: str):
    """In any quoted scalar each character's place holds that character or the start of its escape."""
    written = text.replace("'", "''") if quote == "'" else text.replace("\\", "\\\\").replace('"', '\\"')
    try:
        root, source = parse(f"when: {quote}{written}{quote}", "p.yaml")
    except PolicyError:
        return  # characters that YAML does not take
    scalar = find(root, "when")
    assert isinstance(root, Mapping)
    assert isinstance(scalar, Scalar)
    places = ScalarMap(source, scalar)
    for index, character in enumerate(scalar.text):
        at = source[places.place(index).column - 1]
        assert at == character or (at == "\\" and character in '\\"')


@given(st.text(max_size=200))
def test_any_text_gives_a_tree_or_the_policy_error(text: str):
    """Garbage raises only the policy author's error, with a place."""
    with contextlib.suppress(PolicyError):
        parse(text, "p.yaml")
        return
    found = problems(text)
    assert found
    assert all(problem.startswith("p.yaml:") for problem in found)
