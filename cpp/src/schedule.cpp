#include "schedule.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace memline::packing {
namespace {

// Moffitt's three orders.
const std::array<std::vector<Key>, 3> kOrders = {{
    {Key::kLife, Key::kArea, Key::kTotal},
    {Key::kTotal, Key::kArea, Key::kLife},
    {Key::kTotal, Key::kLife, Key::kArea},
}};
static_assert(kOrders.size() == kOrderCount);
constexpr int kOpeningLaps = 5;  // each in all three orders
constexpr int kOpeningTries = kOpeningLaps * kOrderCount;
static_assert(2 * kOpeningTries == kOpeningNumbers);
constexpr int kLearningLaps = 4;  // on the way down; after these, other manners take turns with it

// A first series goes lowest first, each lap twice as long as the one before.
Try opening(int k) {
  const int lap = k / kOrderCount;
  return {{kOrders[k % kOrderCount]}, int64_t{2} << lap};
}

// A second one stays near the last decision and learns from failures. What it solves the first one often does not.
Try local_opening(int k) {
  Try next = opening(k);
  next.manner.is_local = true;
  next.manner.learning = 0.5;
  next.manner.noise = k / kOrderCount >= 3 ? 0.3 : 0;
  return next;
}

// Searches like these either end soon or hardly ever: what comes after is many short ones, no two alike.
Try at_random(int k) {
  static constexpr double kNoise[] = {0.3, 0.1, 1.0, 0.3};
  static constexpr double kLate[] = {0, 0.02, 0, 0.05};
  const int lap = k / kOrderCount;
  Try next{{kOrders[k % kOrderCount]}, int64_t{24} << (lap / 4 % 3)};
  next.manner.is_local = lap % 3 != 2;
  next.manner.learning = 0.5;
  next.manner.late = kLate[lap % 4];
  next.manner.noise = kNoise[lap / 2 % 4];
  return next;
}

Try nth(int k, int worker) {
  if (worker > 1) return at_random(k + worker);
  if (k >= 2 * kOpeningTries) return at_random(k - 2 * kOpeningTries + worker);
  const bool second = (k >= kOpeningTries) != (worker == 1);
  return second ? local_opening(k % kOpeningTries) : opening(k % kOpeningTries);
}

// Every search ranks first what lives where the ones before it failed, at whatever capacity that was. It is that which makes
// no two alike. Random numbers, or the other orders in turn, took twice as long to where it comes.
Try learning(int k) {
  const int lap = k / kOrderCount;
  Try next{{kOrders.back()}, int64_t{4} << std::min(lap, kLearningLaps - 1)};
  next.manner.learning = 4;
  return next;
}

// A refutation may take longer than any of these: every so often they become twice as long.
Try scaled(Try next, int k, int buffers) {
  const int doublings = std::clamp(k / 120 - 1, 0, 20);
  next.node_limit = next.node_limit * buffers << doublings;
  return next;
}

}  // namespace

Try try_number(int k, int worker, int buffers) { return scaled(nth(k, worker), k, buffers); }

Try rung_number(int k, int buffers) {
  const int lap = k / kOrderCount;
  const bool has_learnt = lap >= kLearningLaps && lap % 2 == 1;
  return scaled(has_learnt ? nth(k, 0) : learning(k), k, buffers);
}

}  // namespace memline::packing
