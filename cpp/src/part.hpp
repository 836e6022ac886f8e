// A problem taken apart: what shares no time, or no pool, can be packed by itself.
#pragma once

#include <cstdint>
#include <vector>

#include "memline/packing.hpp"

namespace memline::packing {

struct Part {
  std::vector<int> members;
  int pool = -1;       // the one pool that all members lie in; -1: there is a choice
  bool plain = false;  // one pool, no windows and no reuse: what the fast search knows
};

// Throws std::invalid_argument if the buffers make no problem, or if a sum of theirs would overflow.
void validate(const Problem& problem);

// Every buffer that takes something is in one part.
std::vector<Part> take_apart(const Problem& problem);

// The most that is alive at one time and has to lie in the pools of this mask, and when. What may be written over something
// else counts only once that is dead.
struct Load {
  int64_t time = 0;
  int64_t load = 0;
};

Load peak_load(const Problem& problem, const std::vector<int>& members, uint64_t pools);

// An arena that is always enough: all buffers on top of each other.
int64_t enough(const Problem& problem);

uint64_t all_pools(const Problem& problem);

}  // namespace memline::packing
