"""Where instructions come from, as modules of this XLA tell, and of an older one."""

import jax
import jax.numpy as jnp

from memline.compiling import HONEST_CPU
from memline.ir.trace import from_jaxpr
from memline.packing.programs import dump_of_lowered
from memline.report.origins import origins
from memline.report.record import Place


def scaled(x, y):
    return jnp.cumsum(x @ y, 0)


def test_a_real_module():
    module = dump_of_lowered(jax.jit(scaled).lower(jnp.ones((64, 64)), jnp.ones((64, 64))), dict(HONEST_CPU)).module
    found = origins(module)
    told = {op: place for op, place in found.values() if place is not None}
    assert "cumsum" in told
    assert told["cumsum"].file == __file__
    assert told["cumsum"].function == "scaled"
    assert told["cumsum"].line == scaled.__code__.co_firstlineno + 1


def test_the_users_own_line_goes_before_that_of_a_library():
    """Of a library's function, the line that called it; and the library's where none of the user's is known."""
    import optax

    def loss(x):
        return optax.safe_norm(x, 1e-3)

    first = loss.__code__.co_firstlineno + 1
    lowered = jax.jit(loss).lower(jnp.ones(64))
    places = [place for _, place in origins(dump_of_lowered(lowered, dict(HONEST_CPU)).module).values() if place]
    assert {place.line for place in places if place.file == __file__} == {first}
    assert all(place.file == __file__ for place in places)
    graph = from_jaxpr(jax.make_jaxpr(loss)(jnp.ones(64)))
    assert {(node.source.file, node.source.line) for node in graph.nodes if node.source} == {(__file__, first)}

    alone = TABLES.replace('2 "user.py"', '2 "lib/site-packages/other.py"')
    alone = alone.replace("lib/python/site.py", "lib/site-packages/inner.py")
    assert origins(alone)["tanh.1"][1] == Place("lib/site-packages/other.py", 3, "loss")


TABLES = """HloModule jit_f

FileNames
1 "lib/python/site.py"
2 "user.py"

FunctionNames
1 "inner"
2 "loss"

FileLocations
1 {file_name_id=1 function_name_id=1 line=7 end_line=7 column=1 end_column=2}
2 {file_name_id=2 function_name_id=2 line=3 end_line=3 column=1 end_column=2}

StackFrames
1 {file_location_id=2 parent_frame_id=1}
2 {file_location_id=1 parent_frame_id=1}
3 {file_location_id=9 parent_frame_id=8}

%fused (p: f32[2]) -> f32[2] {
  %p = f32[2]{0} parameter(0)
  ROOT %tanh.1 = f32[2]{0} tanh(%p), metadata={op_name="jit(f)/tanh" stack_frame_id=1}
}

%copied (q: f32[2]) -> f32[2] {
  %q = f32[2]{0} parameter(0)
  %tanh.2 = f32[2]{0} tanh(%q), metadata={op_name="jit(f)/tanh" stack_frame_id=1}
  ROOT %copy.1 = f32[2]{0} copy(%tanh.2)
}

ENTRY %main (x: f32[2]) -> f32[2] {
  %x = f32[2]{0} parameter(0)
  %old.1 = f32[2]{0} negate(%x), metadata={op_name="jit(f)/neg" source_file="old.py" source_line=12}
  %bare.1 = f32[2]{0} negate(%old.1)
  %lost.1 = f32[2]{0} negate(%old.1), metadata={op_name="jit(f)/abs" stack_frame_id=3}
  %whole.1 = f32[2]{0} fusion(%lost.1), kind=kLoop, calls=%copied
  ROOT %fusion.1 = f32[2]{0} fusion(%lost.1), kind=kLoop, calls=%fused
}
"""


def test_frames_older_sources_roots_of_fusions_and_what_is_not_told():
    found = origins(TABLES)
    assert found["fusion.1"] == found["tanh.1"] == ("tanh", Place("user.py", 3, "loss"))
    assert found["old.1"] == ("neg", Place("old.py", 12, ""))
    assert found["bare.1"] == ("negate", Place("old.py", 12, "")), "XLA's own name of it, the line of its operand"
    assert found["whole.1"] == found["fusion.1"], "its root tells nothing: the last that does"
    assert found["lost.1"] == ("abs", Place("old.py", 12, ""))
    assert found["x"] == ("parameter", None)


def test_memlines_own_lines_are_passed_over():
    import memline

    own = TABLES.replace("user.py", memline.__file__)
    assert origins(own)["tanh.1"] == ("tanh", None)
    called = own.replace("1 {file_location_id=2 parent_frame_id=1}", "1 {file_location_id=2 parent_frame_id=2}")
    assert origins(called)["tanh.1"] == ("tanh", Place("lib/python/site.py", 7, "inner"))


def test_another_text_tells_nothing():
    assert origins("") == {}
    assert origins("no module at all {\n}\n") == {}
