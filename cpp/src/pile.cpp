#include "pile.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>

#include "wide.hpp"

namespace memline::packing {
namespace {

constexpr int64_t kNarrowSum = int64_t{1} << 30;
template <typename Number>
constexpr int64_t kMost = sizeof(Number) == 4 ? kNarrowSum : std::numeric_limits<int64_t>::max();

// Lanes beside a buffer's own sections are looked at as well, and do no harm: what lies there has a bound no lower than this
// one's, and was found to fit above it.
template <typename Number>
[[gnu::always_inline]] inline int pile_up(const Model& m, const Number* sizes, const Bounded* order, size_t count, Range time,
                                          int64_t capacity, Pile::Block<Number>* heights) {
  typedef Number Lanes __attribute__((vector_size(sizeof(Pile::Block<Number>))));
  constexpr Lanes kNumbers = {0, 1, 2, 3, 4, 5, 6, 7};
  const int* range_begin = m.range_begin.data();
  const Range* ranges = m.ranges.data();
  for (size_t i = 0; i < count; ++i) {
    const int j = order[i].buffer;
    if (m.hull[j].last <= time.first || m.hull[j].first >= time.last) continue;
    const Lanes size = sizes[j] - Lanes{};
    // No sum is higher than this clamp, nor below 0.
    const Lanes room = static_cast<Number>(std::clamp<int64_t>(capacity - order[i].bound, -1, kMost<Number>)) - Lanes{};
    Lanes over = {};
    for (int r = range_begin[j]; r < range_begin[j + 1]; ++r) {
      if (ranges[r].last <= time.first || ranges[r].first >= time.last) continue;
      const unsigned first = std::max(ranges[r].first, time.first), last = std::min(ranges[r].last, time.last) - 1;
      Pile::Block<Number>* block = heights + first / Pile::kLanes;
      Pile::Block<Number>* const final_block = heights + last / Pile::kLanes;
      Lanes added = size & (kNumbers >= static_cast<Number>(first % Pile::kLanes));
      for (; block < final_block; ++block) {
        Lanes height;
        std::memcpy(&height, block->lanes, sizeof height);
        height += added;
        std::memcpy(block->lanes, &height, sizeof height);
        over |= height > room;
        added = size;
      }
      Lanes height;
      std::memcpy(&height, block->lanes, sizeof height);
      height += added & (kNumbers <= static_cast<Number>(last % Pile::kLanes));
      std::memcpy(block->lanes, &height, sizeof height);
      over |= height > room;
    }
    Number any = 0;
    for (int lane = 0; lane < Pile::kLanes; ++lane) any |= over[lane];
    if (any) return j;
  }
  return -1;
}

MEMLINE_WIDE int pile_up32(const Model& m, const int32_t* sizes, const Bounded* order, size_t count, Range time,
                           int64_t capacity, Pile::Block<int32_t>* heights) {
  return pile_up(m, sizes, order, count, time, capacity, heights);
}

MEMLINE_WIDE int pile_up64(const Model& m, const int64_t* sizes, const Bounded* order, size_t count, Range time,
                           int64_t capacity, Pile::Block<int64_t>* heights) {
  return pile_up(m, sizes, order, count, time, capacity, heights);
}

}  // namespace

Pile::Pile(const Model& model)
    : m_(model), narrow_(std::accumulate(model.size.begin(), model.size.end(), int64_t{0}) < kNarrowSum) {
  const size_t blocks = (m_.sections + kLanes - 1) / kLanes;
  if (narrow_) {
    sizes32_.assign(m_.size.begin(), m_.size.end());
    heights32_.assign(blocks, {});
  } else {
    heights64_.assign(blocks, {});
  }
}

int Pile::first_too_high(const std::vector<Bounded>& order, Range time, int64_t capacity) {
  const int first = time.first / kLanes, last = (time.last + kLanes - 1) / kLanes;
  time = {first * kLanes, std::min(last * kLanes, m_.sections)};  // whole blocks need no lanes masked
  if (narrow_) {
    std::fill(heights32_.begin() + first, heights32_.begin() + last, Block<int32_t>{});
    return pile_up32(m_, sizes32_.data(), order.data(), order.size(), time, capacity, heights32_.data());
  }
  std::fill(heights64_.begin() + first, heights64_.begin() + last, Block<int64_t>{});
  return pile_up64(m_, m_.size.data(), order.data(), order.size(), time, capacity, heights64_.data());
}

}  // namespace memline::packing
