"""The table of rules in the documentation is the table of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from memline.rewrites.rule import REASSOCIATES, Rule, rule, table

PAGE = Path(__file__).parents[2] / "docs" / "rewriting.md"


def row(rule: Rule) -> str:
    identity = rule.identity.split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
    return f"| `{rule.name}` | {rule.tag} | {identity} |"


def test_the_page_has_every_rule_as_the_code_has_it():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    assert rows == [row(rule) for rule in sorted(table().values(), key=lambda rule: rule.name)]


def test_every_rule_has_an_identity():
    assert all(len(rule.identity) > 40 for rule in table().values())


@pytest.mark.parametrize("name", ["contract", "not an identifier"])
def test_a_rule_needs_a_name_of_its_own(name):
    with pytest.raises(ValueError, match="a name of its own"):
        rule(name, REASSOCIATES)(lambda scope, node: None)
