// The quick packings that every call begins with.
#pragma once

#include <cstdint>
#include <functional>

#include "part.hpp"
#include "solver.hpp"
#include "watch.hpp"

namespace memline::packing {

// Calls try_out(placement, top) with one quick packing of the part's members after another, until it returns true ("enough"),
// all are made, or the watch expires. `top` is the highest top in `pool`, 0 where the part lies in another one. Leaves out the
// first so many, and returns how many there were with those.
int for_quick_packings(const Problem& problem, const Part& part, int pool, const Model* model, int leave_out, Watch& watch,
                       const std::function<bool(const Placement&, int64_t top)>& try_out);

// Hill climbing from the best usual order, as in TVM: what reaches the top moves up in the order. Like the above.
void climb(const Problem& problem, const Part& part, int pool, int steps, uint64_t seed, Watch& watch,
           const std::function<bool(const Placement&, int64_t top)>& try_out);

}  // namespace memline::packing
