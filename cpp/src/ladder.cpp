#include "ladder.hpp"

#include <algorithm>
#include <cmath>

namespace memline::packing {
namespace {

constexpr int kRungs = 8;  // capacities for each length of search
// The first ones go all the way down. The longer nothing was found, the nearer to the arena they stay.
constexpr double kNearer = 0.75, kNearest = 0.3;

// 1/2, 1/4, 3/4, 1/8, 5/8, ...: the longer the list, the closer.
double halfway(int k) {
  double sum = 0, share = 0.5;
  for (++k; k > 0; k /= 2, share /= 2) sum += k % 2 * share;
  return sum;
}

}  // namespace

Attempt Ladder::next(int64_t least, int64_t arena, int64_t unit) {
  if (since_found_ >= kRungs * ways_) {
    ++lap_;
    since_found_ = 0;
  }
  if (way_ == 0) {
    share_ = halfway(step_) * std::max(kNearest, std::pow(kNearer, lap_));
    ++step_;
  }
  const int64_t rungs = (arena - least) / unit - 1;
  const int64_t down = std::clamp<int64_t>(std::llround(share_ * static_cast<double>(rungs + 1)), 1, rungs);
  const Attempt attempt{arena - down * unit, lap_ * ways_ + way_};
  way_ = (way_ + 1) % ways_;
  ++since_found_;
  return attempt;
}

}  // namespace memline::packing
