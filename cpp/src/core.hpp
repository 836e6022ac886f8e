// Why nothing fits: a few buffers that do not fit by themselves, though they do without any one of them.
#pragma once

#include <vector>

#include "part.hpp"
#include "watch.hpp"

namespace memline::packing {

// Such buffers among the members of a part that was found not to fit; empty where finding them would take long.
std::vector<int> irreducible_core(const Problem& problem, const Part& part, Watch& watch);

}  // namespace memline::packing
