#include <stdexcept>

#include "check.hpp"

using namespace memline::packing;

namespace {

template <typename Spoil>
void refuses(Spoil spoil) {
  Problem problem;
  problem.buffers = {Buffer::alive(0, 3, 4), Buffer::alive(2, 9, 4)};
  problem.capacities = {16};
  CHECK(pack(problem).status == Status::kFits);
  spoil(problem);
  bool thrown = false;
  try {
    pack(problem);
  } catch (const std::invalid_argument&) {
    thrown = true;
  }
  CHECK(thrown);
}

}  // namespace

int main() {
  const int64_t most = std::numeric_limits<int64_t>::max();
  refuses([](Problem& p) { p.buffers[0].size = -1; });
  refuses([](Problem& p) { p.buffers[0].alignment = 0; });
  refuses([](Problem& p) { p.buffers[0].offset = -2; });
  refuses([](Problem& p) {
    p.buffers[0].alignment = 4;
    p.buffers[0].offset = 2;
  });
  refuses([](Problem& p) { p.buffers[0].segments[0].end = 0; });
  refuses([](Problem& p) { p.buffers[0].segments[0].last = 5; });
  refuses([](Problem& p) { p.buffers[0].segments.push_back({1, 2, 0, 4}); });
  refuses([](Problem& p) { p.buffers[0].reuses = {7}; });
  refuses([](Problem& p) { p.buffers[0].pools = 2; });
  refuses([](Problem& p) { p.capacities = {}; });
  refuses([](Problem& p) { p.capacities = {-5}; });
  refuses([=](Problem& p) { p.buffers[0].segments[0].end = most; });
  refuses([=](Problem& p) {  // the sum of two sizes is no number
    for (Buffer& b : p.buffers) b = Buffer::alive(0, 3, most / 2 + 1);
  });
  refuses([=](Problem& p) { p.buffers[0].offset = most - 1; });
  return 0;
}
