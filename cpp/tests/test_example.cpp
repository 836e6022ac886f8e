// What the header's first lines show, as a program of its own would use it.
#include <iostream>

#include "memline/packing.hpp"

int main() {
  using namespace memline::packing;
  Problem problem;
  problem.buffers = {Buffer::alive(0, 3, 4), Buffer::alive(2, 9, 4)};  // from time, until time, size
  problem.capacities = {8};
  const Answer answer = pack(problem);
  const Minimum best = minimize(problem.without_capacity(), {.time_limit_seconds = 10});
  for (int64_t offset : answer.placement.offsets) std::cout << offset << "\n";
  return answer.status == Status::kFits && best.arena == 8 && best.bound == 8 ? 0 : 1;
}
