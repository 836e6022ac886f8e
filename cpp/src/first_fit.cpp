#include "first_fit.hpp"

#include <algorithm>
#include <limits>

#include "conflict.hpp"
#include "model.hpp"

namespace memline::packing {
namespace {

constexpr int64_t kNowhere = -1;
constexpr int64_t kLongAgo = std::numeric_limits<int64_t>::min();

int64_t life_of(const Buffer& b) {
  int64_t life = 0;
  for (const Segment& s : b.segments) life += s.end - s.begin;
  return life;
}

}  // namespace

FirstFit::FirstFit(const Problem& problem, std::vector<int> members) : problem_(problem), members_(std::move(members)) {
  for (int k : members_) {
    if (!problem_.buffers[k].segments.empty()) by_begin_.push_back(k);
  }
  auto begin = [&](int k) { return problem_.buffers[k].segments.front().begin; };
  std::stable_sort(by_begin_.begin(), by_begin_.end(), [&](int i, int j) { return begin(i) < begin(j); });
  slot_.assign(problem_.buffers.size(), -1);
  for (size_t s = 0; s < by_begin_.size(); ++s) {
    slot_[by_begin_[s]] = static_cast<int>(s);
    begins_.push_back(begin(by_begin_[s]));
  }
  // A pool that has no end is the last resort.
  for (bool open : {false, true}) {
    for (size_t p = 0; p < problem_.capacities.size(); ++p) {
      if ((problem_.capacities[p] == kNoCapacity) == open) pools_.push_back(static_cast<int>(p));
    }
  }
  while (leaves_ < static_cast<int>(by_begin_.size())) leaves_ *= 2;
}

std::vector<int> FirstFit::order_by(Order order) const {
  std::vector<double> weight(problem_.buffers.size(), 0);
  std::vector<int64_t> deaths;
  if (order == Order::kConflicts) {
    for (int k : by_begin_) deaths.push_back(problem_.buffers[k].segments.back().end);
    std::sort(deaths.begin(), deaths.end());
  }
  for (int k : by_begin_) {
    const Buffer& b = problem_.buffers[k];
    switch (order) {
      case Order::kSize: weight[k] = static_cast<double>(b.size); break;
      case Order::kArea: weight[k] = static_cast<double>(b.size) * static_cast<double>(life_of(b)); break;
      case Order::kLife: weight[k] = static_cast<double>(life_of(b)); break;
      case Order::kConflicts: {  // all but those that are born too late or have died too early
        auto born = std::lower_bound(begins_.begin(), begins_.end(), b.segments.back().end) - begins_.begin();
        auto dead = std::upper_bound(deaths.begin(), deaths.end(), b.segments.front().begin) - deaths.begin();
        weight[k] = static_cast<double>(born - dead);
        break;
      }
    }
  }
  std::vector<int> found = members_;
  std::stable_sort(found.begin(), found.end(), [&](int i, int j) {
    const Buffer &a = problem_.buffers[i], &b = problem_.buffers[j];
    if ((a.offset >= 0) != (b.offset >= 0)) return a.offset >= 0;
    if (weight[i] != weight[j]) return weight[i] > weight[j];
    if (a.size != b.size) return a.size > b.size;
    return slot_[i] < slot_[j];
  });
  return found;
}

bool FirstFit::place(const std::vector<int>& order, Greedy how, const std::function<bool()>& stopped,
                     Placement& placement) {
  latest_death_.assign(2 * leaves_, kLongAgo);
  for (int k : order) {
    if (stopped()) return false;  // among many neighbours one step takes milliseconds
    const Buffer& b = problem_.buffers[k];
    int64_t offset = kNowhere;
    for (size_t p = 0; p < pools_.size() && offset == kNowhere; ++p) {
      const int pool = pools_[p];
      if (!(b.pools >> pool & 1)) continue;
      const int64_t capacity = problem_.capacities[pool];
      offset = lowest_free(k, pool, how, placement);
      if (offset != kNowhere && capacity != kNoCapacity && offset + b.size > capacity) offset = kNowhere;
      placement.pools[k] = pool;
    }
    if (offset == kNowhere) return false;
    placement.offsets[k] = offset;
    if (slot_[k] >= 0) mark_placed(k);
  }
  return true;
}

int64_t FirstFit::lowest_free(int buffer, int pool, Greedy how, const Placement& placement) {
  const Buffer& b = problem_.buffers[buffer];
  blocked_.clear();
  for_placed_with(buffer, [&](int other) {
    if (placement.pools[other] != pool) return;
    const int64_t at = placement.offsets[other];
    for (const Forbidden& range : conflict(b, buffer, problem_.buffers[other], other)) {
      blocked_.push_back({range.first + at, range.last + at});
    }
  });
  std::sort(blocked_.begin(), blocked_.end(), [](const Blocked& x, const Blocked& y) { return x.first < y.first; });
  auto is_free = [&](int64_t offset) {
    return offset % b.alignment == 0 && std::none_of(blocked_.begin(), blocked_.end(), [&](const Blocked& range) {
      return range.first <= offset && offset <= range.last;
    });
  };
  if (b.offset >= 0) return is_free(b.offset) ? b.offset : kNowhere;
  if (how.use_hints && b.hint >= 0 && is_free(b.hint)) return b.hint;
  int64_t best = kNowhere, slack = std::numeric_limits<int64_t>::max();
  int64_t candidate = 0;
  for (const Blocked& range : blocked_) {
    if (range.first > candidate) {
      if (!how.best_fit) return candidate;
      if (range.first - candidate < slack) {
        best = candidate;
        slack = range.first - candidate;
      }
    }
    if (range.last >= candidate) candidate = aligned_up(range.last + 1, b.alignment);
  }
  return best == kNowhere ? candidate : best;
}

template <typename Visit>
void FirstFit::for_placed_with(int buffer, Visit visit) const {
  if (slot_[buffer] < 0) return;
  const auto& segments = problem_.buffers[buffer].segments;
  auto until = std::lower_bound(begins_.begin(), begins_.end(), segments.back().end) - begins_.begin();
  visit_node(1, 0, leaves_, 0, static_cast<int>(until), segments.front().begin, visit);
}

// Visits what is placed among the slots from `from` until `until` and dies after a time.
template <typename Visit>
void FirstFit::visit_node(int node, int first, int last, int from, int until, int64_t after, Visit& visit) const {
  if (latest_death_[node] <= after || last <= from || until <= first) return;
  if (last - first == 1) {
    visit(by_begin_[first]);
    return;
  }
  const int middle = (first + last) / 2;
  visit_node(2 * node, first, middle, from, until, after, visit);
  visit_node(2 * node + 1, middle, last, from, until, after, visit);
}

void FirstFit::mark_placed(int buffer) {
  const int64_t death = problem_.buffers[buffer].segments.back().end;
  for (int node = leaves_ + slot_[buffer]; node > 0; node /= 2) latest_death_[node] = std::max(latest_death_[node], death);
}

int64_t FirstFit::top(const Placement& placement, int pool) const {
  int64_t top = 0;
  for (int k : members_) {
    if (placement.pools[k] == pool) top = std::max(top, placement.offsets[k] + problem_.buffers[k].size);
  }
  return top;
}

}  // namespace memline::packing
