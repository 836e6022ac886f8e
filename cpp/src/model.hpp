// One part of a problem, in one pool, in the form that the search works on: numbers divided by their common divisor, times
// replaced by sections, buffers in an order that does not depend on the caller's.
#pragma once

#include <cstdint>
#include <vector>

#include "memline/packing.hpp"

namespace memline::packing {

// A run of sections, [first, last).
struct Range {
  int first = 0;
  int last = 0;
};

// A section is a time at which a maximal set of buffers is alive: any two buffers that ever meet do so in one.
struct Model {
  int count = 0;
  int sections = 0;
  int64_t unit = 1;  // all sizes, alignments and fixed offsets are multiples of it; below they are divided by it
  std::vector<int> origin;         // the buffer's number in the problem
  std::vector<int64_t> size;
  std::vector<int64_t> alignment;
  std::vector<int64_t> fixed;      // -1: anywhere
  std::vector<int64_t> life;       // for how long it is alive
  std::vector<Range> hull;         // from its first section to its last
  std::vector<int> range_begin;    // buffer j is alive in ranges[range_begin[j]] up to range_begin[j + 1]
  std::vector<Range> ranges;
  std::vector<int64_t> load;       // of each section
  std::vector<int> kind;           // buffers that differ in nothing have one kind
  std::vector<int> twin;           // the one before of the same kind, or -1
  bool rich = false;               // something is aligned or fixed

  int64_t peak_load() const;
};

// The buffers given by number, which have to be of full height whenever they are alive and reuse nothing.
Model make_model(const Problem& problem, const std::vector<int>& members);

// For every buffer those that are alive with it at some time, as one array with the begin of each buffer's part.
struct Neighbours {
  std::vector<int> begin;
  std::vector<int> all;
};

// How many entries the neighbours of a model have, without making them.
int64_t count_neighbours(const Model& model);

Neighbours make_neighbours(const Model& model);

inline int64_t aligned_up(int64_t offset, int64_t alignment) { return (offset + alignment - 1) / alignment * alignment; }

}  // namespace memline::packing
