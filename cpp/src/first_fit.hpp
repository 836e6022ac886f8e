// Greedy packing in a given order, with everything that a problem may say: each buffer at the lowest offset that is free.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "memline/packing.hpp"

namespace memline::packing {

// The usual orders, the larger first: by size (as XLA packs), area (size times life), life, and by how many others a buffer
// lives with (as TVM packs).
enum class Order { kSize, kArea, kLife, kConflicts };

struct Greedy {
  bool best_fit = false;  // the tightest hole that is free, rather than the lowest
  bool use_hints = false;
};

class FirstFit {
 public:
  FirstFit(const Problem& problem, std::vector<int> members);

  // Members, those that are fixed first, in one of the usual orders.
  std::vector<int> order_by(Order order) const;

  // Places the members in this order, each in the first of its pools that has room, those without a
  // capacity last. False if one has no room or `stopped`
  // said so; `placement` has to be as long as the problem, and only members are written.
  bool place(const std::vector<int>& order, Greedy how, const std::function<bool()>& stopped,
             Placement& placement);

  // The highest top among the members in a pool.
  int64_t top(const Placement& placement, int pool) const;

 private:
  int64_t lowest_free(int buffer, int pool, Greedy how, const Placement& placement);
  template <typename Visit>
  void for_placed_with(int buffer, Visit visit) const;
  template <typename Visit>
  void visit_node(int node, int first, int last, int from, int until, int64_t after, Visit& visit) const;
  void mark_placed(int buffer);

  const Problem& problem_;
  std::vector<int> members_;
  std::vector<int> pools_;            // in the order in which they are tried
  std::vector<int> by_begin_;         // members in the order of their births
  std::vector<int64_t> begins_;
  std::vector<int> slot_;             // of each buffer, in by_begin_
  std::vector<int64_t> latest_death_; // a tree over by_begin_, of those that are placed
  int leaves_ = 1;
  struct Blocked {
    int64_t first, last;
  };
  std::vector<Blocked> blocked_;
};

}  // namespace memline::packing
