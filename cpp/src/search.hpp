// The exact search: does one part of a problem fit a capacity?
//
// Schedule-or-postpone (Le Pape et al. 1994, "SetTimes"): buffers are placed in the order of their offsets. Take the one
// with the lowest offset that it can still have (or any that nothing else can fit below); either it lies there, or it is
// postponed until another one pushes it up.
// In some packing every buffer rests on the floor or on another one, so one that nothing can push up any more is a dead end.
// What is left to be done depends only on which buffers are not placed, their lowest offsets and which are postponed, not on
// the order in which they are tried: states found to fail are kept, and still hold after a restart in another order.
//
// Moffitt 2023 (MiniMalloc) is the source of the ranks and of splitting into parts that share no time. Fails are exact up
// to two states with one 128-bit hash.
#pragma once

#include <atomic>
#include <cstdint>
#include <random>
#include <vector>

#include "model.hpp"
#include "pile.hpp"
#include "pushers.hpp"

namespace memline::packing {

// What buffers are ranked by, first things first; the larger goes first.
enum class Key : uint8_t { kLife, kArea, kTotal, kSize };

// How one run of the search goes about it. What it finds or refutes is true in any manner.
struct Manner {
  std::vector<Key> keys;
  double noise = 0;     // keys are multiplied by a random number from 1 up to 1 + noise
  double learning = 0;  // and by up to 1 + learning for buffers at the times at which runs before this one failed
  double late = 0;      // with this probability a buffer is first postponed, and placed if that fails
  bool is_local = false;  // go on next to the last buffer that was placed, rather than at the lowest offset of all
};

enum class Outcome { kFound, kRefuted, kCutShort };

class Search {
 public:
  Search(const Model& model, const Neighbours& neighbours, int64_t table_bytes, uint64_t seed);

  // Searches in one manner until it knows, has looked at `node_limit` states, or `stop` is set. What failed under
  // one capacity fails under a lower one: it is forgotten only where the capacity is higher than before.
  Outcome run(const Manner& manner, int64_t capacity, int64_t node_limit, const std::atomic<bool>& stop);

  // Whatever it has learnt goes; from here on it is as if it had been made with this seed.
  void forget(uint64_t seed);

  // Where the model's buffers lie, in its units, after a run that found it.
  const std::vector<int64_t>& offsets() const { return low_; }

  int64_t nodes() const { return nodes_; }

  // About how many bytes a search takes beside its table.
  static int64_t bytes_for(const Model& model);

 private:
  struct Change {
    int buffer;
    bool was_postponed;
    bool is_placement;
    int64_t low;
  };
  struct Mark {
    uint64_t high = 0;
    uint64_t low = 0;
  };
  struct Part {
    std::vector<Bounded> left;  // buffers not placed
    Range time;
  };

  Outcome descend(std::vector<Bounded>& left, Range time, int depth);
  Outcome descend_postponed(int chosen, const std::vector<Bounded>& left, Range time, int depth);
  Outcome place_and_descend(int chosen, const std::vector<Bounded>& left, Range time, int depth);
  Outcome descend_parts(int chosen, const std::vector<Bounded>& left, Range time, int depth);
  bool may_fit(std::vector<Bounded>& left);
  bool bound_postponed();
  Range sort_by_bounds(std::vector<Bounded>& left);
  int pick(const std::vector<Bounded>& left) const;
  int pick_lowest(const std::vector<Bounded>& left, Range near) const;
  int what_fits_below(int j, bool& any) const;
  void forget_failures();
  void blame(int j, Range time);
  double blame_on(int j) const;
  bool hits_fixed(int j) const;
  bool can_be_pushed(int j) const;
  bool place(int j, bool& splits);
  void raise(int j, int64_t to);
  void postpone(int j);
  void undo_to(size_t mark);
  Mark hash(const std::vector<Bounded>& left) const;
  void rank_members(const std::vector<Bounded>& left);

  const Model& m_;
  const Neighbours& near_;
  Pile pile_;
  Pushers pushers_;
  int64_t capacity_ = 0;
  int64_t failed_under_;  // the lowest capacity that a kept failure holds for
  uint64_t salt_ = 0;     // of the marks: another one makes strangers of all that are kept
  std::vector<int64_t> low_;     // the lowest offset a buffer can still have; where it lies, once it is placed
  std::vector<int64_t> bound_;   // the same, or more where it is postponed; kAway once it is placed
  std::vector<uint8_t> postponed_;
  std::vector<uint8_t> placed_;
  std::vector<int> crossing_;    // unplaced buffers that live on both sides of the end of a section
  std::vector<int64_t> load_;    // scratch: what lives in each section
  std::vector<int> rank_;        // smaller goes first
  std::vector<int> next_twin_;
  std::vector<uint64_t> kind_mark_;  // of each buffer's kind
  std::vector<int64_t> total_;
  std::vector<double> noise_;
  std::vector<std::vector<Bounded>> frames_;
  std::vector<int> waiting_;       // scratch: those postponed, and those whose bounds have changed
  std::vector<Bounded> changed_;
  std::vector<Change> trail_;
  std::vector<Mark> failed_;
  uint64_t failed_mask_ = 0;
  Manner how_;
  int last_placed_ = -1;
  std::vector<double> failures_;  // of each section, over the runs; older ones count less
  double most_failures_ = 1;
  std::mt19937_64 random_;
  std::uniform_real_distribution<double> chance_{0, 1};
  int64_t nodes_ = 0;
  int64_t nodes_left_ = 0;
  const std::atomic<bool>* stop_ = nullptr;
};

}  // namespace memline::packing
