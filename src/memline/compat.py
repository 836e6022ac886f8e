"""The only file that touches JAX internals: one place to mend when JAX moves (0.10 and 0.11)."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax._src import api as _api
from jax._src import checkify as _checkify
from jax._src import compilation_cache as _compilation_cache
from jax._src import config as _config
from jax._src import core as _core
from jax._src import source_info_util as _source_info
from jax._src import traceback_util as _traceback
from jax._src import util as _util
from jax._src.ad_util import Zero as _Zero
from jax._src.interpreters import ad as _ad
from jax._src.interpreters import batching as _batching
from jax._src.interpreters import mlir as _mlir
from jax._src.interpreters import partial_eval as _pe
from jax._src.interpreters import pxla as _pxla
from jax._src.state import discharge as _discharge
from jax._src.state import types as _ref
from jax.extend import core as _jex
from jax.extend.core import primitives as _primitives

from memline.origin import is_users
from memline.protobuf import extra_options_proto

Literal = _jex.Literal
Primitive = _jex.Primitive
ClosedJaxpr = _jex.ClosedJaxpr
Jaxpr = _jex.Jaxpr
ShapedArray = _core.ShapedArray
Tracer = _core.Tracer
for _register in (_source_info.register_exclusion, _traceback.register_exclusion):
    _register(os.path.dirname(__file__) + os.sep)  # whoever calls memline is told of their own lines, as with JAX

plain_jit: Any = _api.jit
"""JAX's own `jit`, also where a program has put another in its place, such as memline's."""


def plain_jit_of(fun: Callable[..., Any], **settings: Any) -> Any:
    """Returns a function of JAX's own `jit`, which does not say that its settings device and backend are deprecated."""
    if "device" not in settings and "backend" not in settings:
        return plain_jit(fun, **settings)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "backend and device argument", DeprecationWarning)
        return plain_jit(fun, **settings)


class _Clearing:
    """What JAX clears with its own caches."""

    def __init__(self, clear: Callable[[], object]) -> None:
        self.cache_clear = clear


_clearings: list[_Clearing] = []  # JAX holds them weakly


def when_caches_are_cleared(clear: Callable[[], object]) -> None:
    """Has a function called whenever `jax.clear_caches()` is."""
    _clearings.append(_Clearing(clear))
    _util.register_cache(_clearings[-1], "memline")


class _OwnTraces(threading.local):
    under_way = False


_own_traces = _OwnTraces()


@contextlib.contextmanager
def own_trace() -> Iterator[None]:
    """A context for what memline traces besides the user's function, which has been traced already.

    JAX neither explains why it traces, as `jax_explain_cache_misses` has it do, nor counts it among the traces of
    functions, as its tests have it do.
    """
    listener: Any = _util.test_event_listener
    if listener is not None and not hasattr(listener, "is_memlines"):

        def listen(event: str, *args: Any) -> None:
            if event != "trace_to_jaxpr" or not _own_traces.under_way:
                listener(event, *args)

        listen.is_memlines = True  # pyright: ignore[reportFunctionMemberAccess]
        _util.test_event_listener = listen
    before, _own_traces.under_way = _own_traces.under_way, True
    try:
        with _config.explain_cache_misses(False):
            yield
    finally:
        _own_traces.under_way = before


def aval_of(x: Any) -> Any:
    """Returns the abstract value of an array, numpy array, Python scalar or tracer."""
    return jax.typeof(x)


def abstract_aval_of(x: Any) -> Any:
    """Returns the abstract value that JAX traces an argument as: also of any object with a shape and a dtype.

    Raises:
      TypeError: it is no such thing.
    """
    return _core.shaped_abstractify(x)


def is_abstract(x: Any) -> bool:
    """Tells whether something is the type of an array only, such as a `jax.ShapeDtypeStruct`, and no array."""
    return isinstance(x, (jax.ShapeDtypeStruct, _core.AbstractValue))


def shaped(shape: Sequence[int], dtype: Any, weak_type: bool = False) -> Any:
    """Returns a `ShapedArray`; extended dtypes (PRNG keys) are kept as they are."""
    return _shaped(tuple(int(s) for s in shape), dtype, weak_type)


@functools.lru_cache(maxsize=1 << 16)
def _shaped(shape: tuple[int, ...], dtype: Any, weak_type: bool) -> Any:
    # Making one costs more than all the rest of cutting an op, and few differ.
    return ShapedArray(shape, dtype, weak_type=weak_type)


@functools.lru_cache(maxsize=256)
def itemsize_bytes(dtype: Any) -> int:
    """Returns the bytes one element takes, also for PRNG keys and sub-byte integers (rounded up)."""
    if jnp.issubdtype(dtype, jax.dtypes.extended):
        impl = getattr(dtype, "_impl", None)
        if impl is not None:
            return int(np.prod(impl.key_shape, dtype=np.int64)) * 4
        return int(getattr(dtype, "itemsize", 4))
    return int(np.dtype(dtype).itemsize)


_WIDE = frozenset({"complex128", "float64", "int64", "uint64"})


def wide_enough(dtypes: Iterable[Any]) -> contextlib.AbstractContextManager[Any]:
    """Returns a context in which arrays of 64-bit types are what they say, whatever the program around allows.

    A program that was written for 32 bits may have a part that is computed in 64.
    """
    is_wide = any(getattr(dtype, "name", "") in _WIDE for dtype in dtypes)
    return jax.enable_x64(True) if is_wide else contextlib.nullcontext()


def is_array_aval(aval: Any) -> bool:
    """Tells whether an abstract value is a plain array (not a token, a ref or another object)."""
    return isinstance(aval, ShapedArray)


def has_refs(traced: Any) -> bool:
    """Tells whether the program of a `jax.stages.Traced` reads or writes refs that it is given or closes over."""
    return any(map(is_ref, (*traced.jaxpr.in_avals, *map(aval_of, traced.jaxpr.consts))))


def is_usual_aval(aval: Any) -> bool:
    """Tells whether an array's type is no more than shape, dtype and weakness: no mesh, no other memory."""
    return isinstance(aval, ShapedArray) and bool(aval == _shaped(aval.shape, aval.dtype, aval.weak_type))


def has_known_sizes(closed: Any) -> bool:
    """Tells whether the sizes of a closed jaxpr are numbers, and not symbols as in `jax.export`."""
    return all(_core.is_constant_shape(getattr(aval, "shape", ())) for aval in closed.in_avals)


def ambient_context() -> Any:
    """Returns the context that an equation traced now would have."""
    return _core.JaxprEqnContext()


def source_of(traceback: Any) -> tuple[str, int, str] | None:
    """Returns (file, line, function) of the frame in an equation's traceback that tells most, or None.

    That is the innermost one of the user's own code, and where there is none the innermost outside of JAX.
    """
    codes, places = traceback.raw_frames() if traceback else ([], [])
    told = None
    for k, code in enumerate(codes):
        if _source_info.is_user_filename(code.co_filename):
            told = k if told is None else told
            if is_users(code.co_filename):
                told = k
                break
    if told is None:
        return None
    frame = _source_info.raw_frame_to_frame(codes[told], places[told])  # dear: of one frame only
    return frame.file_name, frame.start_line, frame.function_name


def at_source(traceback: Any) -> contextlib.AbstractContextManager[Any]:
    """Returns a context in which operations are said to come from a traceback; None changes nothing."""
    if traceback is None:
        return contextlib.nullcontext()
    return _source_info.user_context(traceback, name_stack=_source_info.current_name_stack())


def bind(primitive: Any, params: dict[str, Any], inputs: Sequence[Any], context: Any = None) -> list[Any]:
    """Applies a primitive to values, as evaluating its equation would, under its own context."""
    manager = context.manager if context is not None else contextlib.nullcontext()
    with manager:
        result = primitive.bind(*inputs, **primitive.get_bind_params(params))
    return list(result) if primitive.multiple_results else [result]


def tracing_is_inactive() -> bool:
    """Tells whether no JAX transformation is under way, so that a call may run at once."""
    return _core.trace_state_clean()


def leak_text(tracer: Any) -> str:
    """Returns what JAX says of a tracer that has outlived its transformation: of what type, from which line."""
    return str(_core.escaped_tracer_error(tracer))


def jit_is_disabled() -> bool:
    """Tells whether functions run op by op, as inside `jax.disable_jit()`."""
    return bool(_config.disable_jit.value)


def static_arguments(jitted: Any) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Returns which arguments of a function of `jax.jit` are static, by place and by name, as JAX resolved them."""
    info = jitted._jit_info
    return tuple(info.static_argnums), tuple(info.static_argnames)


def trace_context() -> Any:
    """Returns a hashable token for every global setting that changes what a trace produces."""
    return _config.trace_context()


def argument_names(closed: Any) -> tuple[str, ...]:
    """Returns what the user calls each argument of a traced function, such as `params['w']`; empty where unknown."""
    return tuple(str(name or "") for name in closed.jaxpr.debug_info.arg_names or ())


def compiled_afresh(lowered: Any, compiler_options: dict[str, Any] | None = None) -> Any:
    """Compiles a `jax.stages.Lowered` so that the program can be saved.

    XLA:CPU cannot save a program that it has read from JAX's compilation cache on disk: its kernels' code is lost
    (jax 0.10 and 0.11). Nor can it save one with a sort that has run. Where that cache is in use it is passed by; else
    what is compiled already is taken, if it has no sort.
    """
    config: Any = jax.config
    if not (config.jax_compilation_cache_dir and config.jax_enable_compilation_cache):
        compiled = lowered.compile(compiler_options=compiler_options)
        if " sort(" not in str(compiled.as_text()):
            return compiled
    with _config.enable_compilation_cache(False):
        _compilation_cache.reset_cache()  # it asks only once whether it is enabled
        try:
            # An option that it was not compiled with, for JAX reuses what it has compiled with the same ones.
            return lowered.compile(compiler_options={**(compiler_options or {}), "xla_embed_ir_in_executable": False})
        finally:
            _compilation_cache.reset_cache()


def become(stage: Any, original: Any) -> None:
    """Gives one of memline's stages all that one of JAX's has, whose class it derives from."""
    for kind in type(original).__mro__:
        for name in getattr(kind, "__slots__", ()):
            if hasattr(original, name):
                setattr(stage, name, getattr(original, name))
    stage.__dict__.update(getattr(original, "__dict__", {}))


EXTRA_OPTIONS = "memline_backend_extra_options"
"""A compile option of memline's own: those which only XLA's backend knows, as the JSON text of names and texts."""


@functools.cache
def pass_extra_options() -> None:
    """Has JAX pass on the compile option `EXTRA_OPTIONS`; others stay as they are.

    XLA keeps such options in a map, and refuses to read a map from `compiler_options`. So this one is taken
    out of a program's compile options and appended to the serialised ones instead. It stays one program's own,
    part of every key under which JAX keeps what it compiled, and programs without it go the way they went.
    """
    create: Callable[..., Any] = _pxla.create_compile_options

    @functools.wraps(create)
    def create_with_extra(*args: Any) -> Any:
        *rest, given = args
        given = dict(given)
        extra = given.pop(EXTRA_OPTIONS, "")
        made = create(*rest, given)
        if not extra:
            return made
        return type(made).ParseFromString(made.SerializeAsString() + extra_options_proto(extra))

    _pxla.create_compile_options = create_with_extra


def new_primitive(
    name: str,
    *,
    impl: Callable[..., Any],
    abstract_eval: Callable[..., Any],
    lower: Callable[..., Any],
    batch: Callable[..., Any],
    jvp: Callable[..., Any],
    transpose: Callable[..., Any],
    is_fixed: Callable[[dict[str, Any]], bool],
) -> Any:
    """Returns a new multiple-result primitive that calls its parameter `jaxpr`, with all of its rules registered.

    Jaxprs are printed with its parameters `name` and `jaxpr` only, as those with calls of `jax.jit` are.

    `abstract_eval` returns the abstract results and the effects; `lower` is a plain JAX function of the
    primitive's inputs and parameters, traced into place. Its parameter `stays` says whether the program around is
    for one device and for this process: it is not when it is exported. `batch` is told the `size` of the mapped
    axis and which mesh axes it is `spread_over`, None for none. Where `is_fixed` says no of the parameters, a call may
    lose results that nobody uses, with all that is only for them.
    """
    primitive = _core.Primitive(name)
    primitive.multiple_results = True
    primitive.def_impl(impl)
    primitive.def_effectful_abstract_eval(abstract_eval)
    _batching.fancy_primitive_batchers[primitive] = lambda axis, args, dims, **params: batch(
        args, dims, size=axis.size, spread_over=axis.spmd_name, **params
    )
    _ad.primitive_jvps[primitive] = jvp
    _ad.primitive_transposes[primitive] = transpose

    def lower_in_context(context: Any, *args: Any, **params: Any) -> Any:
        fun = functools.partial(lower, stays=_stays(context.module_context))
        with own_trace():
            return _mlir.lower_fun(fun, multiple_results=True)(context, *args, **params)

    def check(*given: Any, jaxpr: Any, **params: Any) -> Any:
        first = next(place for place, x in enumerate(given) if isinstance(x, _checkify.Error))
        context, (error, enabled, *args) = given[:first], given[first:]  # there is a context from jax 0.11 on
        told, tree = jax.tree.flatten(error)
        types = map(_core.typeof, (*told, *args))
        checked, out_tree, _ = _checkify.jaxpr_to_checkify_jaxpr(*context, jaxpr, enabled, tree, *types)
        return jax.tree.unflatten(out_tree, primitive.bind(*told, *args, jaxpr=checked, **params))

    def without_refs(*given: Any, jaxpr: Any, **params: Any) -> Any:
        args = given[len(given) - len(jaxpr.in_avals) :]  # no refs, but it may make some; before them what differs
        return [None] * len(args), primitive.bind(*args, jaxpr=without_inner_refs(jaxpr), **params)

    def drop_unused(used: Sequence[bool], eqn: Any) -> tuple[list[bool], Any]:
        if eqn.effects or all(used) or is_fixed(eqn.params):
            return [True] * len(eqn.invars), eqn
        if not any(used):
            return [False] * len(eqn.invars), None
        jaxpr, kept = _with_used(eqn.params["jaxpr"], tuple(used))
        inputs, outputs = (
            [v for v, on in zip(vs, ons, strict=True) if on] for vs, ons in ((eqn.invars, kept), (eqn.outvars, used))
        )
        return list(kept), eqn.replace(invars=inputs, outvars=outputs, params={**eqn.params, "jaxpr": jaxpr})

    def show(eqn: Any, context: Any, settings: Any) -> Any:
        inner = getattr(eqn.params["jaxpr"], "jaxpr", eqn.params["jaxpr"])
        if inner not in context.shared_jaxprs:
            context.suggest_same_var_names(inner.invars, eqn.invars)
            context.suggest_same_var_names(inner.outvars, eqn.outvars)
        return _core._pp_eqn(eqn, context, settings, params=["name", "jaxpr"])

    _core.pp_eqn_rules[primitive] = show
    _mlir.register_lowering(primitive, lower_in_context, inline=False)
    _pe.dce_rules[primitive] = drop_unused
    _checkify.error_checks[primitive] = check
    _discharge.register_discharge_rule(primitive)(cast(Any, without_refs))
    return primitive


@functools.lru_cache(maxsize=512)
def _with_used(closed: Any, used: tuple[bool, ...]) -> tuple[Any, tuple[bool, ...]]:
    jaxpr, kept = _pe.dce_jaxpr(closed.jaxpr, list(used))
    return ClosedJaxpr(jaxpr, closed.consts), tuple(kept)


def _stays(module: Any) -> bool:
    """Tells whether a module that is being lowered is for one device and for this process."""
    devices = getattr(module.axis_context, "num_devices", None)
    return devices == 1 and len(module.platforms) == 1 and not module.lowering_parameters.for_export


def axis_sizes(closed: Any) -> dict[str, int]:
    """Returns the mapped axes around a closed jaxpr that it uses, as `lax.psum` does, and their sizes."""
    sizes = _core.get_axis_env().axis_sizes
    names = {e.name for e in closed.effects if isinstance(e, _core.NamedAxisEffect)}
    for eqn in _with_inner(closed.jaxpr.eqns):  # not all say so by an effect: `ppermute` does not
        named = eqn.params.get("axis_name", ())
        names.update(name for name in (named if isinstance(named, tuple) else (named,)) if name in sizes)
    return {str(name): int(sizes[name]) if name in sizes else 1 for name in sorted(names, key=str)}


def _with_inner(eqns: Iterable[Any]) -> Iterator[Any]:
    """Yields equations, and those of the jaxprs that they run."""
    for eqn in eqns:
        yield eqn
        for inner in _core.jaxprs_in_params(eqn.params):
            yield from _with_inner(inner.eqns)


def any_type(test: Callable[[Any], bool], eqn: Any) -> bool:
    """Tells whether a test holds of the type of any value of an equation, or of the jaxprs that it runs."""
    return any(test(v.aval) for each in _with_inner([eqn]) for v in (*each.invars, *each.outvars))


def without_inner_refs(closed: Any) -> Any:
    """Returns the closed jaxpr with values in the place of the refs that it makes for itself."""
    return _discharge.discharge_state(closed) if _core.internal_mutable_array_effect in closed.effects else closed


def needed(closed: Any, optional: Sequence[bool]) -> tuple[Any, tuple[bool, ...]]:
    """Returns the closed jaxpr without the inputs marked optional that its results do not need, and which it keeps."""
    kept = [not may_go for may_go in optional]
    jaxpr, kept = _pe.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), instantiate=kept)
    return ClosedJaxpr(jaxpr, closed.consts), tuple(kept)


def is_ref(aval: Any) -> bool:
    """Tells whether a type is that of a ref."""
    return isinstance(aval, _ref.AbstractRef)


def instantiate_zeros(tangent: Any) -> Any:
    """Turns a symbolic zero tangent into an array of zeros."""
    return _ad.instantiate_zeros(tangent)


def is_symbolic_zero(tangent: Any) -> bool:
    """Tells whether a tangent or cotangent is a symbolic zero."""
    return type(tangent) is _Zero


def symbolic_zero(aval: Any) -> Any:
    """Returns the symbolic zero tangent of an abstract value."""
    return _Zero(cast(Any, aval).to_tangent_aval())


def is_undefined_primal(x: Any) -> bool:
    """Tells whether a transposition's argument is one of its linear inputs."""
    return _ad.is_undefined_primal(x)


def named_primitive(name: str) -> Any:
    """Returns the primitive that JAX's internals call by that name, or None.

    For primitives that `jax.lax` does not export, such as `add_any`, `stop_gradient` and `geqrf`.
    """
    from jax._src import ad_util
    from jax._src.lax import lax as lax_internal
    from jax._src.lax import linalg, special
    from jax._src.random import prng

    for module in (ad_util, lax_internal, special, linalg, prng, _primitives):
        found = getattr(module, f"{name}_p", None)
        if isinstance(found, _core.Primitive):
            return found
    return None


def exported_primitives() -> dict[str, Any]:
    """Returns the primitives that JAX exports, by name."""
    found = (getattr(home, name) for home in (_primitives, jax.lax) for name in dir(home) if name.endswith("_p"))
    return {p.name: p for p in found if isinstance(p, _core.Primitive)}


def evaluate_jaxpr(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
    """Evaluates an open jaxpr on arrays or tracers."""
    return list(_core.eval_jaxpr(jaxpr, list(consts), *args))


def is_batched(value: Any) -> bool:
    """Tells whether a value inside `jax.vmap` differs along the mapped axis."""
    return isinstance(value, _batching.BatchTracer) and not is_unbatched(value.batch_dim)


def is_unbatched(dim: Any) -> bool:
    """Tells whether a batching dimension says that the argument is not batched."""
    return dim is None or isinstance(dim, getattr(_batching, "NotMapped", type(None)))


def asked_shardings(traced: Any) -> tuple[list[Any], list[Any]]:
    """Returns where a `jax.stages.Traced` was asked to have its arguments and results; None where anywhere will do."""
    sides = (traced._params[name] for name in ("in_shardings", "out_shardings"))
    first, second = ([s if isinstance(s, jax.sharding.Sharding) else None for s in side] for side in sides)
    return first, second


def lifted_constants(traced: Any) -> list[Any]:
    """Returns the outer tracers that a `jax.stages.Traced` closes over; its jaxpr takes them first."""
    return list(getattr(traced, "_consts", ()))
