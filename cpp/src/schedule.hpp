// Which try comes when: manners of search in turn, at first each for longer than before, then at random.
#pragma once

#include <cstdint>

#include "search.hpp"

namespace memline::packing {

struct Try {
  Manner manner;
  int64_t node_limit = 0;
};

// So many tries in a row differ in the order of the search, and not in its length.
inline constexpr int kOrderCount = 3;

// With the first so many tries a worker has been through both opening series.
inline constexpr int kOpeningNumbers = 30;

// The k-th try of a worker, one of several side by side, on a part of so many buffers.
Try try_number(int k, int worker, int buffers);

// The k-th try on the way down from an arena, where capacities differ from one try to the next.
Try rung_number(int k, int buffers);

}  // namespace memline::packing
