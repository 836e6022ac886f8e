#include <algorithm>
#include <bit>
#include <memory>

#include "core.hpp"
#include "heuristics.hpp"
#include "memline/packing.hpp"
#include "part.hpp"
#include "solver.hpp"
#include "watch.hpp"

namespace memline::packing {
namespace {

constexpr size_t kMany = 4000;  // quick packings of so many begin with those that need no pairs

Placement empty_placement(const Problem& problem) {
  Placement placement;
  for (const Buffer& b : problem.buffers) {
    placement.offsets.push_back(std::max<int64_t>(b.offset, 0));
    placement.pools.push_back(std::countr_zero(b.pools & all_pools(problem)));
  }
  return placement;
}

void copy_members(const Part& part, const Placement& from, Placement& to) {
  for (int k : part.members) {
    to.offsets[k] = from.offsets[k];
    to.pools[k] = from.pools[k];
  }
}

// A time at which more is alive than there is room for, if there is one.
bool find_overload(const Problem& problem, const std::vector<Part>& parts, Overload& overload) {
  std::vector<int> all;
  for (const Part& part : parts) all.insert(all.end(), part.members.begin(), part.members.end());
  int64_t capacity = 0;
  for (int64_t c : problem.capacities) {
    if (c == kNoCapacity) return false;
    if (__builtin_add_overflow(capacity, c, &capacity)) return false;
  }
  const Load load = peak_load(problem, all, all_pools(problem));
  overload = {load.time, load.load, capacity};
  return load.load > capacity;
}

// A buffer that no pool has room for by itself.
int find_too_large(const Problem& problem) {
  for (size_t k = 0; k < problem.buffers.size(); ++k) {
    const Buffer& b = problem.buffers[k];
    bool has_room = false;
    for (size_t p = 0; p < problem.capacities.size(); ++p) {
      const int64_t capacity = problem.capacities[p];
      has_room |= (b.pools >> p & 1) && (capacity == kNoCapacity || std::max<int64_t>(b.offset, 0) + b.size <= capacity);
    }
    if (!has_room) return static_cast<int>(k);
  }
  return -1;
}

class Packer {
 public:
  Packer(const Problem& problem, const Options& options) : problem_(problem), options_(options), watch_(options) {}

  Answer run() {
    const std::vector<Part> parts = take_apart(problem_);
    answer_.placement = empty_placement(problem_);
    const int too_large = find_too_large(problem_);
    if (too_large >= 0) {
      answer_.core = {too_large};
      return finish(Status::kInfeasible, "a buffer is larger than every pool that it may lie in");
    }
    if (find_overload(problem_, parts, answer_.overload)) {
      answer_.has_overload = true;
      return finish(Status::kInfeasible, "more is alive at one time than there is room for");
    }
    std::vector<const Part*> open;
    for (const Part& part : parts) {
      if (!try_quickly(part)) open.push_back(&part);
    }
    return open.empty() ? finish(Status::kFits, "a greedy order fits") : search(open);
  }

 private:
  bool try_quickly(const Part& part) {
    if (part.plain && part.members.size() > kMany) {
      const Model model = make_model(problem_, part.members);
      return try_quickly(part, &model);
    }
    return try_quickly(part, nullptr);
  }

  bool try_quickly(const Part& part, const Model* model) {
    bool fits = false;
    for_quick_packings(problem_, part, part.pool, model, 0, watch_, [&](const Placement& placement, int64_t) {
      copy_members(part, placement, answer_.placement);
      return fits = true;
    });
    return fits;
  }

  Answer search(const std::vector<const Part*>& parts) {
    std::vector<std::unique_ptr<Solver>> solvers;
    for (const Part* part : parts) solvers.push_back(std::make_unique<Solver>(problem_, *part, options_));
    std::vector<size_t> open;
    bool too_large = false;
    for (size_t k = 0; k < solvers.size(); ++k) {
      if (solvers[k]->is_searchable()) {
        open.push_back(k);
      } else {
        too_large = true;
      }
    }
    while (!open.empty() && !watch_.expired()) {
      for (size_t k : std::vector<size_t>(open)) {
        const int pool = parts[k]->pool;
        const int64_t capacity = pool >= 0 ? problem_.capacities[pool] : 0;
        Aim aim;
        aim.capacity = capacity == kNoCapacity ? enough(problem_) : capacity;
        solvers[k]->round(aim, nullptr, watch_);
        if (aim.outcome == Outcome::kRefuted) {
          count(solvers);
          answer_.core = irreducible_core(problem_, *parts[k], watch_);
          return finish(Status::kInfeasible, "searched exhaustively");
        }
        if (aim.outcome == Outcome::kFound) {
          copy_members(*parts[k], aim.placement, answer_.placement);
          std::erase(open, k);
        }
        if (watch_.expired()) break;
      }
    }
    count(solvers);
    if (!open.empty()) return finish(Status::kUnknown, watch_.why());
    if (too_large) return finish(Status::kUnknown, "too large for an exact search within the memory limit");
    return finish(Status::kFits, "found by search");
  }

  void count(const std::vector<std::unique_ptr<Solver>>& solvers) {
    answer_.nodes = 0;
    for (const auto& solver : solvers) answer_.nodes += solver->nodes();
  }

  Answer finish(Status status, const char* reason) {
    answer_.status = status;
    answer_.reason = reason;
    if (status != Status::kFits) answer_.placement = {};
    answer_.cpu_seconds = watch_.cpu_seconds();
    return std::move(answer_);
  }

  const Problem& problem_;
  const Options& options_;
  Watch watch_;
  Answer answer_;
};

}  // namespace

Answer pack(const Problem& problem, const Options& options) {
  validate(problem);
  return Packer(problem, options).run();
}

}  // namespace memline::packing
