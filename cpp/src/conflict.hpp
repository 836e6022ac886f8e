// Which offsets two buffers may not have together, with everything a problem may say: windows, and reuse.
#pragma once

#include <cstdint>
#include <vector>

#include "memline/packing.hpp"

namespace memline::packing {

// Whole numbers from `first` to `last`, both included.
struct Forbidden {
  int64_t first = 0;
  int64_t last = 0;
};

// The offsets of `a`, less that of `b`, at which they would share bytes; sorted, and none touching another.
std::vector<Forbidden> conflict(const Buffer& a, int number_of_a, const Buffer& b, int number_of_b);

// Any two buffers that live together at some time, the first with the smaller number.
struct Pair {
  int a = 0;
  int b = 0;
};

std::vector<Pair> pairs_alive_together(const Problem& problem, const std::vector<int>& members);

}  // namespace memline::packing
