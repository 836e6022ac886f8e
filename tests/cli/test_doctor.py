"""`memline doctor` and `memline demo`: what they measure is what they print."""

import json

import jax
import jax.numpy as jnp
import pytest

import memline
from memline.cli import doctor
from memline.cli.main import main
from memline.errors import MeasureError
from memline.verify import faults


def test_versions_and_devices(capsys):
    assert main(["doctor", "--quick", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["versions"]["memline"] == memline.__version__
    assert found["versions"]["jax"] == jax.__version__
    assert len(found["devices"]) == len(jax.local_devices())
    assert found["devices"][0]["memory_bytes"] > 2**20
    assert "accounts" not in found
    assert main(["doctor", "--quick"]) == 0
    out, err = capsys.readouterr()
    assert jax.__version__ in out
    assert err == ""


def test_an_account_is_measured():
    account = doctor._account("sort", lambda x: jnp.sort(x), (jax.ShapeDtypeStruct((2**22,), jnp.float32),))
    assert account.plain_bytes >= 2**24  # the result alone
    assert account.measured_bytes <= 1.25 * account.memline_bytes + 4 * 2**20
    lines = doctor._told_accounts([account.__dict__])
    assert lines[-1].strip() == "memline's account covers what was measured."
    account.__dict__["measured_bytes"] = 2 * account.memline_bytes + 2**23
    assert "memline's account is too low here for: sort" in doctor._told_accounts([account.__dict__])[-1]


def test_what_fresh_pages_cost():
    now, huge = faults.page_costs(2**26)
    for cost in (now, huge):
        assert cost.fresh_seconds > 0
        assert cost.reused_seconds > 0
    assert now.fresh_faults <= 2**14 + 100  # one for each page, if pages are fresh at all
    assert huge.fresh_faults <= now.fresh_faults + 100


def cost(seconds, count):
    return faults.PageCost(fresh_seconds=seconds, fresh_faults=count, reused_seconds=0.01)


@pytest.mark.parametrize(("huge", "is_proposed"), [(cost(0.05, 600), True), (cost(0.19, 600), False)])
def test_huge_pages_are_proposed_where_they_help(monkeypatch, huge, is_proposed):
    monkeypatch.setattr(faults, "page_costs", lambda n_bytes: (cost(0.2, 32768), huge))
    found = doctor.pages()
    assert (found["proposal"] is not None) == is_proposed
    assert (
        any("GLIBC_TUNABLES=glibc.malloc.hugetlb=1 python" in line for line in doctor._told_pages(found)) == is_proposed
    )


def test_what_cannot_be_measured_is_told(monkeypatch, capsys):
    def fails(*args):
        raise MeasureError("no /proc here")

    monkeypatch.setattr(doctor, "accounts", fails)
    monkeypatch.setattr(doctor, "pages", fails)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "accounts could not be checked: no /proc here" in out
    assert "page faults could not be measured: no /proc here" in out


def test_a_small_demo(capsys):
    assert main(["demo", "--points", "4000", "--limit", "8MiB", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["limit_held"]
    assert found["memline_peak_bytes"] <= found["limit_bytes"] == 2**23
    assert found["same_neighbours"] > 0.99
