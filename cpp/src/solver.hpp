// One part of a problem under search: what is kept between one try and the next.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "general.hpp"
#include "part.hpp"
#include "rounds.hpp"
#include "search.hpp"

namespace memline::packing {

// A capacity to aim at, and what came of it.
struct Aim {
  int64_t capacity = 0;
  bool was_tried = false;
  Outcome outcome = Outcome::kCutShort;
  Placement placement;  // if it was found; only the part's members are written
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

  // One more try at each of these capacities, longer than the one before. The threads share the aims: with more threads than
  // aims, several try for one in different ways.
  void round(std::vector<Aim>& aims, Watch& watch);

  int64_t nodes() const;

  const Model* model() const { return model_ ? &*model_ : nullptr; }

 private:
  Outcome run(size_t worker, int rival, int64_t capacity, int64_t node_limit, const std::atomic<bool>& stop);
  void read(size_t worker, Placement& placement) const;
  void make_workers(size_t count);

  const Problem& problem_;
  const Part& part_;
  const Options& options_;
  int pool_;
  bool searchable_ = true;
  std::optional<Model> model_;
  Neighbours neighbours_;
  std::vector<std::unique_ptr<Search>> fast_;
  std::vector<std::unique_ptr<GeneralSearch>> general_;
  std::vector<int> tries_;  // of each worker
  int rounds_ = 0;
};

}  // namespace memline::packing
