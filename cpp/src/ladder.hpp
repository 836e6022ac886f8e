// The way down from the best arena so far: which capacity to try next, and how.
//
// Whether a search of a given length finds a packing is a matter of luck, and each capacity is another draw: a lower one is
// often met where a higher one was missed. So many capacities get a short search each, then again a longer one, rather than
// one capacity a long one.
#pragma once

#include <cstdint>

#include "schedule.hpp"

namespace memline::packing {

// What to search for.
struct Attempt {
  int64_t capacity = 0;
  int number = 0;  // of the try, as for `rung_number`
};

class Ladder {
 public:
  // The index-th of those that go down side by side, each in steps of its own. Each capacity gets so many tries in a row.
  Ladder(int index, int ways) : step_(kApart * index), ways_(ways) {}

  // The next attempt between two arenas, both not included; they are more than a unit apart.
  Attempt next(int64_t least, int64_t arena, int64_t unit);

  // What was tried last was found: those that are as long are worth another round.
  void found() { since_found_ = 0; }

 private:
  static constexpr int kApart = 7;

  int step_;
  int ways_;
  int way_ = 0;
  int lap_ = 0;
  int since_found_ = 0;  // attempts
  double share_ = 0;     // of the way down
};

}  // namespace memline::packing
