// Which buffers may push one up: those that live with it, are not placed, and may begin below its top.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "model.hpp"

namespace memline::packing {

class Pushers {
 public:
  // The bound of what is placed. Sums of it and a size are numbers still.
  static constexpr int64_t kAway = std::numeric_limits<int64_t>::max() / 4;

  Pushers(const Model& model, const Neighbours& neighbours);

  // The lowest top of those that may push buffer `j`, at `bounds` of all buffers, up from below `top`; kAway if there are none.
  int64_t lowest_top(int j, int64_t top, std::vector<int64_t>& bounds) const;

 private:
  const Model& m_;
  const Neighbours& near_;
  std::vector<Range> span_;  // from the first neighbour's number to the last's; empty where the list of them is read instead
  std::vector<int64_t> first_, last_;  // the hulls, apart
};

}  // namespace memline::packing
