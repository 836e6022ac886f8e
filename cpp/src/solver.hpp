// One part of a problem under search: what is kept between one try and the next.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "general.hpp"
#include "ladder.hpp"
#include "part.hpp"
#include "rounds.hpp"
#include "search.hpp"

namespace memline::packing {

// A capacity to aim at, and what came of it.
struct Aim {
  int64_t capacity = 0;
  Outcome outcome = Outcome::kCutShort;
  Placement placement;  // if it was found; only the part's members are written
};

// A way down between two arenas, both not included, and how far it led.
struct Descent {
  int64_t least = 0;
  int64_t arena = 0;
  Placement placement;  // of the arena, if it is lower than before; only the part's members are written
  bool is_lower = false;
  int64_t refuted = -1;  // the highest capacity that nothing fits
};

class Solver {
 public:
  Solver(const Problem& problem, const Part& part, const Options& options);

  // Whether an exact search is possible within the memory limit.
  bool is_searchable() const { return searchable_; }

  // All arenas of the part are multiples of this.
  int64_t unit() const { return model_ ? model_->unit : 1; }

  // The part's own pool, whose capacity is aimed at; where members have a choice, the one that an aim is for is told.
  void aim_at_pool(int pool) { pool_ = pool; }

  // One more round at a capacity, on all threads in different ways, and longer than the one before. With a descent, half of
  // the threads go down that way at the same time, and all of them in every second round once the usual tries at the
  // capacity are through; one thread alone takes turns.
  void round(Aim& aim, Descent* descent, Watch& watch);

  int64_t nodes() const;

  const Model* model() const { return model_ ? &*model_ : nullptr; }

 private:
  // What a thread works with. It keeps what it learns from round to round.
  struct Worker {
    std::unique_ptr<Search> fast;
    std::unique_ptr<GeneralSearch> general;
    int tries = 0;  // at an aim
    std::optional<Ladder> ladder;
  };

  Outcome seek(Worker& worker, int rival, int64_t capacity, int64_t most_nodes, const std::atomic<bool>& stop);
  void descend(Worker& worker, Descent& descent, int64_t most_nodes, const std::atomic<bool>& stop);
  Outcome run(Worker& worker, int64_t capacity, const Try& next, const std::atomic<bool>& stop);
  Try seeking(int number, int rival) const;
  Try descending(int number) const;
  int64_t nodes_of(const Worker& worker) const;
  void read(const Worker& worker, Placement& placement) const;
  void make(Worker& worker);
  uint64_t next_seed() { return options_.seed * 1000003 + seeds_++; }

  const Problem& problem_;
  const Part& part_;
  const Options& options_;
  int pool_;
  bool searchable_ = true;
  std::optional<Model> model_;
  Neighbours neighbours_;
  std::vector<Worker> workers_;
  uint64_t seeds_ = 0;
  int rounds_ = 0;
};

}  // namespace memline::packing
