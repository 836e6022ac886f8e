"""Every primitive of JAX has a rule, is inlined, or is on record as left whole, with the reason."""

import subprocess
import sys

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from memline.rules import coverage
from memline.rules.coverage import coverage_text
from memline.rules.table import has_axes_rule, registered_primitives
from tests.rules.harness import check, normal


def test_nothing_is_undecided():
    assert [entry.primitive for entry in coverage.coverage() if entry.fate == "undecided"] == []


def test_what_is_left_whole_has_a_reason_and_no_rule():
    whole = [entry for entry in coverage.coverage() if entry.fate == "whole"]
    assert whole
    assert all(entry.why for entry in whole)
    named = {primitive.name for primitive in registered_primitives()}
    assert named.isdisjoint(entry.primitive for entry in whole)


def test_what_is_said_to_be_split_is():
    split = {entry.primitive for entry in coverage.coverage() if entry.fate == "split"}
    assert split == {primitive.name for primitive in registered_primitives() if has_axes_rule(primitive)}


def test_the_table_is_printed():
    done = subprocess.run([sys.executable, "-m", "memline.rules"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == coverage_text()
    assert "dot_general" in done.stdout
    assert " 0 undecided" in done.stdout


def test_names_given_for_checkpoints_are_split_through():
    check(lambda x: checkpoint_name(jnp.sin(x), "sine") * 2, normal(4, 6))


def test_newer_elementwise_functions():
    check(lambda x: jnp.log2(jnp.abs(x) + 1) + jax.nn.gelu(x), normal(4, 6))
