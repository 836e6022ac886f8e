// Which try comes when: ranks in turn, each for longer than before.
#pragma once

#include <cstdint>

#include "search.hpp"

namespace memline::packing {

struct Try {
  Rank rank;
  int64_t node_limit = 0;
};

// The k-th try of a worker on a part of so many buffers.
Try try_number(int k, int worker, int workers, int buffers);

}  // namespace memline::packing
