// At every time, all that has to lie at some height or above has to fit between it and the capacity: the bound that
// the search asks for at every state, and spends most of its time on.
#pragma once

#include <cstdint>
#include <vector>

#include "model.hpp"

namespace memline::packing {

// A buffer that is not placed yet, and the lowest offset that it can have.
struct Bounded {
  int64_t bound = 0;
  int buffer = 0;
};

class Pile {
 public:
  // Sections are piled on by so many at a time.
  static constexpr int kLanes = 8;
  template <typename Number>
  struct alignas(kLanes * sizeof(Number)) Block {
    Number lanes[kLanes] = {};
  };

  explicit Pile(const Model& model);

  // Piles up buffers, the highest bound first, on the sections of `time` and on some that are next to it, and returns the
  // first at some section of which there is more than fits above its bound; -1 if there is none.
  int first_too_high(const std::vector<Bounded>& order, Range time, int64_t capacity);

  // What lies on a section of that time after that.
  int64_t at(int section) const { return narrow_ ? heights32_[section / kLanes].lanes[section % kLanes] : heights64_[section / kLanes].lanes[section % kLanes]; }

 private:
  const Model& m_;
  bool narrow_;  // all sums are below 2^30: numbers of half the size go twice as fast
  std::vector<int32_t> sizes32_;
  std::vector<Block<int32_t>> heights32_;
  std::vector<Block<int64_t>> heights64_;
};

}  // namespace memline::packing
