// The exact search for what the fast one does not know: gaps with windows, reuse, several pools.
//
// Every buffer keeps a range of offsets. With all at their lowest, some two may share bytes; then one has to be at least so
// far above the other, or the other way round (there are more ways where windows interlock), and either is tried. What was
// decided is propagated as on the edges of a graph of precedences. With several pools, which one is decided first.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "conflict.hpp"
#include "search.hpp"

namespace memline::packing {

class GeneralSearch {
 public:
  GeneralSearch(const Problem& problem, const std::vector<int>& members);

  // Searches until it knows, has looked at `node_limit` states, or `stop` is set; `capacities` are those of the pools.
  Outcome run(const std::vector<int64_t>& capacities, int64_t node_limit, const std::atomic<bool>& stop);

  // Writes where the members lie, after a run that found it.
  void write(Placement& placement) const;

  int64_t nodes() const { return nodes_; }

 private:
  struct Meeting {  // two members that live together, and the differences of their offsets (a - b) at which they collide
    int a, b;
    std::vector<Forbidden> forbidden;
  };
  struct Edge {  // `to` is at least `distance` above the buffer that has the edge
    int to;
    int64_t distance;
  };
  struct Change {
    enum Kind : uint8_t { kLow, kHigh, kPools, kEdge } kind;
    int buffer;
    int64_t value;
  };
  struct Piece {  // what a member takes at one time
    int buffer;
    int64_t first, last;
  };
  struct Choice {
    int meeting = -1;    // the two that collide; -1: nobody does
    bool pools = false;  // decide on a pool of `buffer` rather than on who is above
    int buffer = -1;
    int64_t up = 0;      // a - b is at least this, or
    int64_t down = 0;    // at most this
    bool can_go_up = false, can_go_down = false;
  };

  Outcome descend();
  Outcome branch(const Choice& choice, bool first);
  Choice next_choice();
  Outcome try_pool(int j, int pool);
  Outcome failed() const { return was_cut_ ? Outcome::kCutShort : Outcome::kRefuted; }
  bool load_fits();
  bool at_least(int a, int b, int64_t distance);  // a is at least `distance` above b
  bool set_low(int j, int64_t low);
  bool set_high(int j, int64_t high);
  bool propagate();
  bool limit_to_pools(int j);
  void undo_to(size_t mark);
  int pool_of(int j) const;
  bool is_decided(int j) const;

  const Problem& problem_;
  std::vector<int> members_;
  std::vector<int64_t> capacities_;
  std::vector<Meeting> meetings_;
  std::vector<std::vector<Piece>> times_;  // at each time that matters, who takes what; results that reuse are left out
  std::vector<std::vector<Edge>> above_, below_;
  std::vector<int64_t> low_, high_;
  std::vector<uint64_t> pools_;
  std::vector<Change> trail_;
  std::vector<int> queue_;
  std::vector<uint8_t> queued_;
  bool aligned_ = false;
  bool was_cut_ = false;
  int watched_ = -1;  // a buffer that may not be raised by what follows from an edge that it has
  int64_t nodes_ = 0;
  int64_t nodes_left_ = 0;
  const std::atomic<bool>* stop_ = nullptr;
};

}  // namespace memline::packing
