// The static memory allocator: places buffers that live for a time at offsets, so that no two that live together overlap.
//
//   using namespace memline::packing;
//   Problem problem;
//   problem.buffers = {Buffer::alive(0, 3, 4), Buffer::alive(2, 9, 4)};  // from time, until time, size
//   problem.capacities = {8};
//   Answer answer = pack(problem);                                       // answer.status, answer.placement.offsets
//   Minimum best = minimize(problem.without_capacity(), {.time_limit_seconds = 10});
//
// All numbers are 64-bit. What would overflow, and what is no problem at all, throws std::invalid_argument; nothing else
// throws but std::bad_alloc. For a given seed and number of threads answers that do not end by a limit are the same in
// every run. Link with the static library memline_packing, and with threads.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace memline::packing {

// From time `begin` until `end` a buffer takes the bytes `first` up to `last`, counted from its offset.
struct Segment {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t first = 0;
  int64_t last = 0;
};

struct Buffer {
  int64_t size = 0;
  int64_t alignment = 1;   // its offset is a multiple of this
  int64_t offset = -1;     // where it has to lie; -1: anywhere
  int64_t hint = -1;       // where it would best lie; tried first, promised never
  uint64_t pools = ~0ull;  // bit k: it may lie in pool k
  std::vector<Segment> segments;  // in the order of time, none overlapping
  std::vector<int> reuses;  // buffers, by number, whose offset it may take over although they live at its first times

  // A buffer that takes all of its size from `lower` until `upper`, which is the first time at which it is dead.
  static Buffer alive(int64_t lower, int64_t upper, int64_t size) {
    Buffer buffer;
    buffer.size = size;
    if (size > 0) buffer.segments.push_back({lower, upper, 0, size});
    return buffer;
  }
};

inline constexpr int64_t kNoCapacity = -1;

struct Problem {
  std::vector<Buffer> buffers;
  std::vector<int64_t> capacities = {kNoCapacity};  // one a pool; kNoCapacity: as much as it takes

  Problem without_capacity() const {
    Problem open = *this;
    open.capacities.assign(1, kNoCapacity);
    return open;
  }
};

struct Placement {
  std::vector<int64_t> offsets;  // one a buffer
  std::vector<int> pools;        // one a buffer
};

// Told while a search runs.
struct Progress {
  int64_t arena = 0;  // the smallest so far; 0 when asked whether something fits
  int64_t bound = 0;
  double seconds = 0;
};

struct Options {
  double time_limit_seconds = std::numeric_limits<double>::infinity();  // of wall time
  double cpu_limit_seconds = std::numeric_limits<double>::infinity();   // of the process's processor time
  int threads = 1;
  uint64_t seed = 0;
  int64_t memory_limit_bytes = int64_t{1} << 30;  // for what the search keeps; more threads share it
  // Called from the calling thread every 50 ms or so, and with every better arena; true ends the search.
  std::function<bool(const Progress&)> interrupted = {};
};

enum class Status { kFits, kInfeasible, kUnknown };

// At `time` there is more alive than all pools hold together.
struct Overload {
  int64_t time = 0;
  int64_t load = 0;
  int64_t capacity = 0;
};

struct Answer {
  Status status = Status::kUnknown;
  Placement placement;           // if it fits
  bool has_overload = false;     // if it does not, and a sum shows it
  Overload overload;
  std::vector<int> core;         // if it does not: buffers that do not fit alone, yet do without any one of them; may be empty
  std::string reason;            // one sentence
  int64_t nodes = 0;             // states that the exact search looked at
  double cpu_seconds = 0;        // over all threads
};

// Whether the buffers fit the capacities: a placement, a proof that there is none, or that a limit came first.
Answer pack(const Problem& problem, const Options& options = {});

struct Minimum {
  Placement placement;
  int64_t arena = 0;
  int64_t bound = 0;    // no arena is smaller
  std::string stopped;  // "proved", "time limit", "interrupted" or "too large to search"
  std::vector<Progress> history;
  int64_t nodes = 0;
  double cpu_seconds = 0;
};

// The smallest arena of the one pool without a capacity; pools that have one keep it. Throws std::invalid_argument if not
// exactly one pool has none. Where other pools' capacities leave no packing at all, `placement.offsets` is empty.
Minimum minimize(const Problem& problem, const Options& options = {});

}  // namespace memline::packing
