#include "heuristics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "first_fit.hpp"
#include "skyline.hpp"

namespace memline::packing {
namespace {

// First fit looks at all that live with a buffer; above this many such pairs the skyline goes first.
constexpr int64_t kManyPairs = 20'000'000;

Placement blank(const Problem& problem) {
  return {std::vector<int64_t>(problem.buffers.size(), 0), std::vector<int>(problem.buffers.size(), 0)};
}

// What a buffer weighs in the skyline: its life and its size, to these powers.
struct Weighing {
  double life, size;
};
constexpr Weighing kWeighings[] = {{1, 0}, {1, 0.5}, {1, 1}, {0, 1}, {1, 0.2}, {0.5, 1}};

}  // namespace

int for_quick_packings(const Problem& problem, const Part& part, int pool, const Model* model, int leave_out, Watch& watch,
                       const std::function<bool(const Placement&, int64_t)>& try_out) {
  auto expired = [&] { return watch.expired(); };
  int count = 0;
  const int64_t capacity = part.pool >= 0 ? problem.capacities[part.pool] : kNoCapacity;
  // Both return whether that is enough. The clock is looked at before what is made for a packing, too: weights and orders
  // of a hundred thousand buffers take a while.
  auto try_skylines = [&] {
    if (std::any_of(model->fixed.begin(), model->fixed.end(), [](int64_t fixed) { return fixed >= 0; })) return false;
    for (const Weighing& how : kWeighings) {
      if (count++ < leave_out) continue;
      if (expired()) return true;
      std::vector<double> weight;
      for (int j = 0; j < model->count; ++j) {
        weight.push_back(std::pow(model->life[j], how.life) * std::pow(model->size[j], how.size));
      }
      const std::vector<int64_t> offsets = skyline(*model, weight, expired);
      if (offsets.empty()) continue;
      Placement placement = blank(problem);
      int64_t top = 0;
      for (int j = 0; j < model->count; ++j) {
        placement.offsets[model->origin[j]] = offsets[j] * model->unit;
        placement.pools[model->origin[j]] = part.pool;
        top = std::max(top, (offsets[j] + model->size[j]) * model->unit);
      }
      if (capacity != kNoCapacity && top > capacity) continue;
      if (try_out(placement, part.pool == pool ? top : 0)) return true;
    }
    return false;
  };
  auto try_first_fits = [&] {
    if (expired()) return true;
    FirstFit fit(problem, part.members);
    const bool has_hints = std::any_of(part.members.begin(), part.members.end(),
                                       [&](int k) { return problem.buffers[k].hint >= 0; });
    for (bool hints : {true, false}) {
      if (hints && !has_hints) continue;
      for (Order order : {Order::kSize, Order::kArea, Order::kLife, Order::kConflicts}) {
        for (bool best_fit : {false, true}) {
          if (best_fit && order != Order::kSize) continue;  // by size and into the tightest hole: XLA's way
          if (count++ < leave_out) continue;
          if (expired()) return true;
          Placement placement = blank(problem);
          if (!fit.place(fit.order_by(order), {best_fit, hints}, expired, placement)) continue;
          if (try_out(placement, fit.top(placement, pool))) return true;
        }
      }
    }
    return false;
  };
  const bool is_large = model != nullptr && count_neighbours(*model) > kManyPairs;
  if (is_large && try_skylines()) return count;
  if (try_first_fits()) return count;
  if (model != nullptr && !is_large) try_skylines();
  return count;
}

void climb(const Problem& problem, const Part& part, int pool, int steps, uint64_t seed, Watch& watch,
           const std::function<bool(const Placement&, int64_t)>& try_out) {
  FirstFit fit(problem, part.members);
  auto expired = [&] { return watch.expired(); };
  std::vector<int> order = fit.order_by(Order::kArea);
  Placement best = blank(problem);
  if (!fit.place(order, {}, expired, best)) return;
  int64_t top = fit.top(best, pool);
  std::mt19937_64 random(seed);
  Placement placement = blank(problem);
  for (int step = 0; step < steps && !watch.expired(); ++step) {
    std::vector<size_t> highest;
    for (size_t k = 0; k < order.size(); ++k) {
      const int j = order[k];
      if (best.pools[j] == pool && best.offsets[j] + problem.buffers[j].size == top) highest.push_back(k);
    }
    if (highest.empty()) return;
    const size_t from = highest[random() % highest.size()];
    size_t to = random() % (from + 1);
    while (to < from && problem.buffers[order[to]].offset >= 0) ++to;  // what is fixed stays in front
    std::vector<int> changed = order;
    std::rotate(changed.begin() + to, changed.begin() + from, changed.begin() + from + 1);
    if (!fit.place(changed, {}, expired, placement)) continue;
    const int64_t new_top = fit.top(placement, pool);
    if (new_top > top) continue;
    order = std::move(changed);
    best = placement;
    if (new_top == top) continue;
    top = new_top;
    if (try_out(best, top)) return;
  }
}

}  // namespace memline::packing
