// A test in a line: CHECK(condition). The checker below is plain and shares nothing with the solver.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <random>

#include "memline/packing.hpp"

#define CHECK(condition)                                                        \
  do {                                                                          \
    if (!(condition)) {                                                         \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);      \
      std::exit(1);                                                             \
    }                                                                           \
  } while (false)

namespace memline::packing {

inline bool is_valid(const Problem& problem, const Placement& placement) {
  const size_t n = problem.buffers.size();
  if (placement.offsets.size() != n || placement.pools.size() != n) return false;
  for (size_t i = 0; i < n; ++i) {
    const Buffer& a = problem.buffers[i];
    const int64_t at = placement.offsets[i];
    const int64_t capacity = problem.capacities.at(placement.pools[i]);
    if (at < 0 || at % a.alignment != 0 || (a.offset >= 0 && at != a.offset)) return false;
    if (!(a.pools >> placement.pools[i] & 1)) return false;
    if (capacity != kNoCapacity && at + a.size > capacity) return false;
    for (size_t j = 0; j < i; ++j) {
      const Buffer& b = problem.buffers[j];
      const int64_t bt = placement.offsets[j];
      if (placement.pools[i] != placement.pools[j]) continue;
      bool reuse = false;
      for (int k : a.reuses) reuse |= k == static_cast<int>(j);
      for (int k : b.reuses) reuse |= k == static_cast<int>(i);
      if (reuse && at == bt) continue;
      for (const Segment& s : a.segments) {
        for (const Segment& t : b.segments) {
          const bool in_time = s.begin < t.end && t.begin < s.end;
          if (in_time && at + s.first < bt + t.last && bt + t.first < at + s.last) return false;
        }
      }
    }
  }
  return true;
}

// Buffers with random lives and sizes; with gaps, alignments and fixed offsets where asked for.
inline Problem random_problem(std::mt19937_64& random, int count, int64_t length, int64_t largest, bool rich) {
  Problem problem;
  for (int k = 0; k < count; ++k) {
    const int64_t lower = static_cast<int64_t>(random() % length);
    const int64_t upper = lower + 1 + static_cast<int64_t>(random() % (length - lower));
    const int64_t size = 1 + static_cast<int64_t>(random() % largest);
    Buffer buffer = Buffer::alive(lower, upper, size);
    if (rich && random() % 4 == 0) buffer.alignment = 1 + static_cast<int64_t>(random() % 3);
    if (rich && random() % 6 == 0) buffer.offset = static_cast<int64_t>(random() % 3) * buffer.alignment;
    if (rich && upper - lower > 2 && random() % 3 == 0) {
      buffer.segments = {{lower, lower + 1, 0, size}, {upper - 1, upper, 0, size}};
    }
    problem.buffers.push_back(buffer);
  }
  return problem;
}

}  // namespace memline::packing
