"""`memline doctor`: versions and devices, what XLA accounts for honestly here, and what fresh pages cost."""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from memline.cli.command import FINE
from memline.cli.progress import busy
from memline.errors import MemlineError
from memline.units import format_bytes

EXAMPLES = """\
examples:
  memline doctor
      about a minute; --quick leaves the measurements out
  memline doctor --json > machine.json
"""
_MIB = 2**20
_RESULT_BYTES = 128 * _MIB
_WORTH = 1.2
"""From this gain on, a setting is proposed."""


@dataclass(frozen=True)
class Account:
    """What one small program takes beside its arguments: by XLA's account, by memline's, and measured. In bytes."""

    program: str
    xla_bytes: int
    """By XLA's account of plain `jax.jit`."""
    plain_bytes: int
    """Measured for plain `jax.jit`."""
    memline_bytes: int
    """By memline's account of the program as it compiles it."""
    measured_bytes: int
    """Measured for that."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `memline doctor`."""
    parser.add_argument("--quick", action="store_true", help="measure nothing")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")


def run(options: argparse.Namespace) -> int:
    """Runs `memline doctor`."""
    with busy("starting JAX"):
        found: dict[str, Any] = {"versions": versions(), "devices": devices(), "native_core": native_core()}
    lines = _told_versions(found)
    if not options.quick:
        try:
            found["accounts"] = [asdict(account) for account in accounts()]
            lines += _told_accounts(found["accounts"])
        except MemlineError as error:
            found["accounts_error"] = str(error)
            lines += ["", f"accounts could not be checked: {error}"]
        try:
            with busy("measuring page faults in fresh processes"):
                found["pages"] = pages()
            lines += _told_pages(found["pages"])
        except MemlineError as error:
            found["pages_error"] = str(error)
            lines += ["", f"page faults could not be measured: {error}"]
    print(json.dumps(found, indent=1) if options.json else "\n".join(lines))
    return FINE


def versions() -> dict[str, str]:
    """Returns the versions of what computes here."""
    import jax
    import jaxlib.version

    import memline

    libc = " ".join(platform.libc_ver()).strip() or "unknown"
    return {
        "memline": memline.__version__,
        "jax": jax.__version__,
        "jaxlib": jaxlib.version.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "libc": libc,
    }


def devices() -> list[dict[str, Any]]:
    """Returns the devices, and how much memory of each this process may use; None where one does not say."""
    import jax

    from memline.devices import device_bytes, thread_count

    found = []
    for device in jax.local_devices():
        try:
            memory_bytes = device_bytes(device)
        except MemlineError:
            memory_bytes = None
        threads = thread_count() if device.platform == "cpu" else None
        found.append(
            {"name": str(device), "kind": device.device_kind, "memory_bytes": memory_bytes, "threads": threads}
        )
    return found


def native_core() -> str:
    """Returns whether the packing solver is there, or what is wrong with it."""
    try:
        from memline.packing import Buffer, Problem, pack

        pack(Problem((Buffer("a", 0, 1, 1),), capacity=1))
    except MemlineError as error:
        return str(error)
    return "built"


def accounts() -> list[Account]:
    """Measures small programs of the kinds whose memory XLA has been seen to hide; see docs/accounting.md.

    Raises:
      MeasureError: this system cannot measure.
    """
    import jax
    import jax.numpy as jnp

    def matrix(rows: int, columns: int) -> Any:
        return jax.ShapeDtypeStruct((rows, columns), jnp.float32)

    programs: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "sum of an elementwise chain": (lambda x: jnp.exp(2 * x).sum(0), (matrix(4096, 2048),)),
        "softmax of a product": (
            lambda q, k: jax.nn.softmax(q @ k.T, axis=-1) @ k,
            (matrix(2048, 64), matrix(4096, 64)),
        ),
        "top-k of long rows": (lambda x: jax.lax.top_k(x, 10)[0], (matrix(2, 2**22),)),
    }
    found = []
    for name, (function, arguments) in programs.items():
        with busy(f"measuring: {name}"):
            found.append(_account(name, function, arguments))
    return found


def _account(name: str, function: Any, arguments: tuple[Any, ...]) -> Account:
    import jax

    from memline.api import jit
    from memline.options import Options
    from memline.verify.measured import measure

    plain: Any = jax.jit(function).lower(*arguments).compile().memory_analysis()
    ours = jit(function, memory_limit="16GiB", options=Options(split_for_speed=0, rewrites=()))
    compiled = ours.lower(*arguments).compile()
    return Account(
        name,
        plain.output_size_in_bytes + plain.temp_size_in_bytes,
        measure(function, *arguments, repeats=0).peak_bytes,
        (compiled.plan.compiled_peak_bytes or 0) - compiled.plan.argument_bytes,
        compiled.measure(*arguments, repeats=0).peak_bytes,
    )


def pages() -> dict[str, Any]:
    """Measures what a large result costs in fresh pages, and whether huge pages would make it cheaper."""
    from memline.verify.faults import HUGE_PAGES, page_costs

    now, huge = page_costs(_RESULT_BYTES)
    gain = now.fresh_seconds / huge.fresh_seconds
    return {
        "result_bytes": _RESULT_BYTES,
        "now": asdict(now),
        "huge_pages": asdict(huge),
        "transparent_hugepage": _kernel_setting(),
        "proposal": f"GLIBC_TUNABLES={HUGE_PAGES}" if gain >= _WORTH and huge.fresh_faults < now.fresh_faults else None,
    }


def _kernel_setting() -> str:
    try:
        text = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    except OSError:
        return "unknown"
    return next((word.strip("[]") for word in text.split() if word.startswith("[")), "unknown")


def _told_versions(found: dict[str, Any]) -> list[str]:
    lines = ["memline doctor", ""]
    lines += [f"  {name:<12} {version}" for name, version in found["versions"].items()]
    for device in found["devices"]:
        size = "does not say" if device["memory_bytes"] is None else format_bytes(device["memory_bytes"])
        threads = f", {device['threads']} threads" if device["threads"] else ""
        lines.append(f"  {'device':<12} {device['name']} ({device['kind']}): memory {size}{threads}")
    return [*lines, f"  {'native core':<12} {found['native_core']}"]


def _told_accounts(accounts: list[dict[str, Any]]) -> list[str]:
    lines = ["", "What XLA says that a program takes beside its arguments, and what it took in a fresh process:", ""]
    lines.append(f"  {'':<28} {'plain jax.jit':^27} {'under memline':^27}")
    lines.append(f"  {'':<28} {'says':>13} {'took':>13} {'says':>13} {'took':>13}")
    for account in accounts:
        figures = [account[name] for name in ("xla_bytes", "plain_bytes", "memline_bytes", "measured_bytes")]
        lines.append(f"  {account['program']:<28} " + " ".join(f"{format_bytes(figure):>13}" for figure in figures))
    hides = [a["program"] for a in accounts if a["plain_bytes"] > 1.25 * a["xla_bytes"] + 4 * _MIB]
    over = [a["program"] for a in accounts if a["measured_bytes"] > 1.25 * a["memline_bytes"] + 4 * _MIB]
    lines.append("")
    if hides:
        lines.append(f"  Plain jax.jit hides memory here: {', '.join(hides)}.")
    lines.append(
        f"  memline's account is too low here for: {', '.join(over)}. Please report this with the versions above."
        if over
        else "  memline's account covers what was measured."
    )
    return lines


def _told_pages(pages: dict[str, Any]) -> list[str]:
    now, huge = pages["now"], pages["huge_pages"]

    def row(name: str, seconds: float, faults: str) -> str:
        return f"  {name:<36} {seconds * 1e3:>8.1f} ms {faults}"

    lines = ["", f"What a result of {format_bytes(pages['result_bytes'])} costs on the CPU:", ""]
    lines.append(row("written over a donated argument", now["reused_seconds"], ""))
    lines.append(row("in fresh pages, as things are", now["fresh_seconds"], f"{now['fresh_faults']:>8} page faults"))
    lines.append(row("in fresh huge pages", huge["fresh_seconds"], f"{huge['fresh_faults']:>8} page faults"))
    lines.append("")
    if pages["proposal"]:
        gain = now["fresh_seconds"] / huge["fresh_seconds"]
        lines.append(
            f"  Large results are {gain:.1f} times faster here with huge pages. Programs under a limit of memline's"
        )
        lines.append("  take them by themselves (Options.reuse_memory); for all others, set this before Python starts:")
        lines.append(f"    {pages['proposal']} python ...")
    else:
        lines.append(
            "  Huge pages make no large difference here (transparent huge pages of this system: "
            f"{pages['transparent_hugepage']})."
        )
    lines.append("  Donate what a call may write over: donate_argnums, as in jax.jit.")
    return lines
