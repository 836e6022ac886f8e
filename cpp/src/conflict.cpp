#include "conflict.hpp"

#include <algorithm>

namespace memline::packing {
namespace {

bool has(const std::vector<int>& numbers, int number) {
  return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
}

}  // namespace

std::vector<Forbidden> conflict(const Buffer& a, int number_of_a, const Buffer& b, int number_of_b) {
  std::vector<Forbidden> found;
  for (const Segment& s : a.segments) {
    for (const Segment& t : b.segments) {
      if (s.begin < t.end && t.begin < s.end) found.push_back({t.first - s.last + 1, t.last - s.first - 1});
    }
  }
  if (found.empty()) return found;
  std::sort(found.begin(), found.end(), [](const Forbidden& x, const Forbidden& y) { return x.first < y.first; });
  std::vector<Forbidden> joined;
  for (const Forbidden& next : found) {
    if (!joined.empty() && next.first <= joined.back().last + 1) {
      joined.back().last = std::max(joined.back().last, next.last);
    } else {
      joined.push_back(next);
    }
  }
  if (!has(a.reuses, number_of_b) && !has(b.reuses, number_of_a)) return joined;
  std::vector<Forbidden> open;  // without the one place that they may have in common
  for (const Forbidden& range : joined) {
    if (range.first > 0 || range.last < 0) {
      open.push_back(range);
      continue;
    }
    if (range.first < 0) open.push_back({range.first, -1});
    if (range.last > 0) open.push_back({1, range.last});
  }
  return open;
}

std::vector<Pair> pairs_alive_together(const Problem& problem, const std::vector<int>& members) {
  std::vector<int> order;
  for (int k : members) {
    if (!problem.buffers[k].segments.empty()) order.push_back(k);
  }
  auto begin = [&](int k) { return problem.buffers[k].segments.front().begin; };
  auto end = [&](int k) { return problem.buffers[k].segments.back().end; };
  std::sort(order.begin(), order.end(), [&](int i, int j) { return begin(i) != begin(j) ? begin(i) < begin(j) : i < j; });
  std::vector<Pair> pairs;
  for (size_t x = 0; x < order.size(); ++x) {
    for (size_t y = x + 1; y < order.size() && begin(order[y]) < end(order[x]); ++y) {
      const int i = std::min(order[x], order[y]), j = std::max(order[x], order[y]);
      if (!conflict(problem.buffers[i], i, problem.buffers[j], j).empty()) pairs.push_back({i, j});
    }
  }
  return pairs;
}

}  // namespace memline::packing
