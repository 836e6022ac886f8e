#include "part.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <stdexcept>
#include <string>
#include <tuple>

namespace memline::packing {
namespace {

[[noreturn]] void refuse(size_t buffer, const std::string& why) {
  throw std::invalid_argument("buffer " + std::to_string(buffer) + " " + why);
}

// A quarter of the numbers: sums and differences of two still are numbers.
constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / 4;

void validate_segments(const Buffer& b, size_t k) {
  int64_t time = -kMost;
  for (const Segment& s : b.segments) {
    if (s.begin < -kMost || s.end > kMost) refuse(k, "has a time beyond a quarter of 64 bits");
    if (s.begin >= s.end || s.begin < time) refuse(k, "has segments that are empty or not in order");
    if (s.first < 0 || s.first >= s.last || s.last > b.size) refuse(k, "has a segment beyond its size");
    time = s.end;
  }
}

// Members grouped so that no two groups share a time.
std::vector<std::vector<int>> split_by_time(const Problem& problem, std::vector<int> members) {
  auto begin = [&](int k) { return problem.buffers[k].segments.front().begin; };
  std::sort(members.begin(), members.end(), [&](int i, int j) { return std::tuple(begin(i), i) < std::tuple(begin(j), j); });
  std::vector<std::vector<int>> groups;
  int64_t end = std::numeric_limits<int64_t>::min();
  for (int k : members) {
    if (groups.empty() || begin(k) >= end) groups.emplace_back();
    groups.back().push_back(k);
    end = std::max(end, problem.buffers[k].segments.back().end);
  }
  return groups;
}

bool is_full(const Buffer& b) {
  return b.reuses.empty() && std::all_of(b.segments.begin(), b.segments.end(), [&](const Segment& s) {
           return s.first == 0 && s.last == b.size;
         });
}

}  // namespace

uint64_t all_pools(const Problem& problem) {
  return problem.capacities.size() < 64 ? (uint64_t{1} << problem.capacities.size()) - 1 : ~uint64_t{0};
}

void validate(const Problem& problem) {
  if (problem.capacities.empty() || problem.capacities.size() > 64) {
    throw std::invalid_argument("a problem has 1 to 64 pools");
  }
  for (int64_t capacity : problem.capacities) {
    if (capacity < 0 && capacity != kNoCapacity) throw std::invalid_argument("a pool's capacity is negative");
  }
  int64_t total = 0, highest = 0, in_all = 0;
  for (size_t k = 0; k < problem.buffers.size(); ++k) {
    const Buffer& b = problem.buffers[k];
    if (b.size < 0) refuse(k, "has a negative size");
    if (b.alignment < 1) refuse(k, "has an alignment less than 1");
    if (b.offset < -1 || b.hint < -1) refuse(k, "has a negative offset or hint");
    if (b.offset > 0 && b.offset % b.alignment != 0) refuse(k, "is fixed off its alignment");
    if ((b.pools & all_pools(problem)) == 0) refuse(k, "may lie in no pool");
    validate_segments(b, k);
    for (int other : b.reuses) {
      if (other < 0 || other >= static_cast<int>(problem.buffers.size())) refuse(k, "reuses a buffer that is not there");
    }
    int64_t top = 0;
    if (__builtin_add_overflow(total, b.size, &total) || __builtin_add_overflow(total, b.alignment, &total) ||
        __builtin_add_overflow(std::max<int64_t>(b.offset, 0), b.size, &top)) {
      refuse(k, "makes the sum of sizes overflow 64 bits");
    }
    highest = std::max(highest, top);
    if (__builtin_add_overflow(total, highest, &in_all) || in_all > kMost) {
      refuse(k, "makes the sum of sizes exceed a quarter of 64 bits");
    }
  }
}

int64_t enough(const Problem& problem) {
  int64_t total = 0, highest = 0;
  for (const Buffer& b : problem.buffers) {
    total += b.size + b.alignment;
    highest = std::max(highest, std::max<int64_t>(b.offset, 0) + b.size);
  }
  return total + highest;
}

std::vector<Part> take_apart(const Problem& problem) {
  std::vector<int> all;
  bool decided = true;
  for (size_t k = 0; k < problem.buffers.size(); ++k) {
    if (problem.buffers[k].segments.empty()) continue;
    all.push_back(static_cast<int>(k));
    decided &= std::has_single_bit(problem.buffers[k].pools & all_pools(problem));
  }
  std::vector<Part> parts;
  if (!decided) {
    for (std::vector<int>& group : split_by_time(problem, all)) parts.push_back({std::move(group), -1, false});
    return parts;
  }
  for (size_t pool = 0; pool < problem.capacities.size(); ++pool) {
    std::vector<int> members;
    for (int k : all) {
      if (problem.buffers[k].pools >> pool & 1) members.push_back(k);
    }
    for (std::vector<int>& group : split_by_time(problem, members)) {
      const bool plain = std::all_of(group.begin(), group.end(), [&](int k) { return is_full(problem.buffers[k]); });
      parts.push_back({std::move(group), static_cast<int>(pool), plain});
    }
  }
  return parts;
}

Load peak_load(const Problem& problem, const std::vector<int>& members, uint64_t pools) {
  std::vector<std::pair<int64_t, int64_t>> events;
  for (int k : members) {
    const Buffer& b = problem.buffers[k];
    if ((b.pools & all_pools(problem) & ~pools) != 0) continue;
    int64_t own = std::numeric_limits<int64_t>::min();
    for (int other : b.reuses) {
      if (!problem.buffers[other].segments.empty()) own = std::max(own, problem.buffers[other].segments.back().end);
    }
    for (const Segment& s : b.segments) {
      const int64_t begin = std::max(s.begin, own);
      if (begin >= s.end) continue;
      events.emplace_back(begin, s.last - s.first);
      events.emplace_back(s.end, s.first - s.last);
    }
  }
  std::sort(events.begin(), events.end());  // deaths come before births, for they are negative
  Load peak;
  int64_t load = 0;
  for (auto [time, change] : events) {
    load += change;
    if (load > peak.load) peak = {time, load};
  }
  return peak;
}

}  // namespace memline::packing
