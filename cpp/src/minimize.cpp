#include <algorithm>
#include <bit>
#include <deque>
#include <memory>
#include <stdexcept>

#include "heuristics.hpp"
#include "memline/packing.hpp"
#include "part.hpp"
#include "solver.hpp"
#include "watch.hpp"

namespace memline::packing {
namespace {

constexpr int kClimbingSteps = 40;
constexpr size_t kMostToClimb = 500;

int open_pool(const Problem& problem) {
  int found = -1;
  for (size_t p = 0; p < problem.capacities.size(); ++p) {
    if (problem.capacities[p] != kNoCapacity) continue;
    if (found >= 0) throw std::invalid_argument("two pools have no capacity: the arena of which one is to be small?");
    found = static_cast<int>(p);
  }
  if (found < 0) throw std::invalid_argument("every pool has a capacity: leave out that of the one to be made small");
  return found;
}

// One part, its best packing so far and what is proved of it.
struct State {
  Part part;
  std::unique_ptr<Solver> solver;
  Placement best;
  bool has_best = false;
  bool hopeless = false;  // does not fit however large the open pool is
  bool exhausted = false;  // nothing more can be tried
  int tried_quickly = 0;   // of the quick packings
  int64_t arena = 0;
  int64_t bound = 0;
};

class Minimizer {
 public:
  Minimizer(const Problem& problem, const Options& options)
      : problem_(problem), options_(options), watch_(options), pool_(open_pool(problem)) {}

  Minimum run() {
    place_what_takes_nothing();
    for (Part& part : take_apart(problem_)) {
      states_.emplace_back();
      states_.back().part = std::move(part);
      begin(states_.back());
    }
    told_ = true;
    tell();
    for (State& state : states_) {
      if (state.arena > bound() && !watch_.expired()) try_quickly(state);
    }
    std::string stopped = "proved";
    while (true) {
      State* worst = next();
      if (worst == nullptr) break;
      if (watch_.expired()) {
        stopped = watch_.why();
        break;
      }
      improve(*worst);
      if (worst->hopeless) break;
    }
    return finish(stopped);
  }

 private:
  // Buffers of no size lie where they have to, at no cost but their offset.
  void place_what_takes_nothing() {
    for (const Buffer& b : problem_.buffers) {
      placement_.offsets.push_back(std::max<int64_t>(b.offset, 0));
      placement_.pools.push_back(std::countr_zero(b.pools & all_pools(problem_)));
      if (placement_.pools.back() == pool_) floor_ = std::max(floor_, b.segments.empty() ? placement_.offsets.back() : 0);
    }
  }

  void begin(State& state) {
    const Part& part = state.part;
    state.bound = part.pool >= 0 && part.pool != pool_ ? 0 : lower_bound(part);
    state.solver = std::make_unique<Solver>(problem_, part, options_);
    state.solver->aim_at_pool(pool_);
    // There is always a packing, also where the time is over: the first one is made without a look at the clock.
    const Options unhurried;
    Watch no_limit(unhurried);
    auto take_one = [&](const Placement& placement, int64_t top) {
      take(state, placement, top);
      return true;
    };
    state.tried_quickly = for_quick_packings(problem_, part, pool_, state.solver->model(), 0, no_limit, take_one);
  }

  void try_quickly(State& state) {
    const Part& part = state.part;
    auto take_better = [&](const Placement& placement, int64_t top) {
      take(state, placement, top);
      return state.arena <= std::max(state.bound, bound());
    };
    for_quick_packings(problem_, part, pool_, state.solver->model(), state.tried_quickly, watch_, take_better);
    // The search comes lower than that in less time.
    const bool is_searched = part.plain && state.solver->is_searchable();
    if (!is_searched && state.has_best && state.arena > state.bound && part.members.size() <= kMostToClimb) {
      climb(problem_, part, pool_, kClimbingSteps, options_.seed, watch_, take_better);
    }
  }

  int64_t lower_bound(const Part& part) const {
    int64_t bound = peak_load(problem_, part.members, uint64_t{1} << pool_).load;
    for (int k : part.members) {
      const Buffer& b = problem_.buffers[k];
      const bool has_to = (b.pools & all_pools(problem_)) == uint64_t{1} << pool_;
      if (has_to) bound = std::max(bound, std::max<int64_t>(b.offset, 0) + b.size);
    }
    return bound;
  }

  void take(State& state, const Placement& placement, int64_t top) {
    if (state.has_best && top >= state.arena) return;
    state.has_best = true;
    state.best = placement;
    state.arena = top;
    if (told_) tell();
  }

  int64_t arena() const {
    int64_t most = floor_;
    for (const State& state : states_) most = std::max(most, state.arena);
    return most;
  }

  int64_t bound() const {
    int64_t most = floor_;
    for (const State& state : states_) most = std::max(most, state.bound);
    return most;
  }

  // The part to work on: one without a packing, or else the one with the highest arena; nullptr if there is nothing to gain.
  State* next() {
    State* worst = nullptr;
    for (State& state : states_) {
      if (state.exhausted) continue;
      if (!state.has_best) return &state;
      if (worst == nullptr || state.arena > worst->arena) worst = &state;
    }
    return worst != nullptr && worst->arena == arena() && worst->arena > bound() ? worst : nullptr;
  }

  void improve(State& state) {
    if (!state.solver->is_searchable()) {
      state.exhausted = true;
      return;
    }
    if (!state.has_best) {
      find_any(state);
      return;
    }
    // At what would be the proof, and on the way there.
    Aim aim;
    aim.capacity = std::max(state.bound, bound());
    Descent descent;
    descent.least = aim.capacity;
    descent.arena = state.arena;
    const bool is_way = state.arena - state.solver->unit() > aim.capacity;
    state.solver->round(aim, is_way ? &descent : nullptr, watch_);
    if (aim.outcome == Outcome::kFound) take(state, aim.placement, top_of(state.part, aim.placement));
    if (aim.outcome == Outcome::kRefuted) raise_bound(state, aim.capacity);
    if (descent.is_lower) take(state, descent.placement, descent.arena);
    if (descent.refuted >= 0) raise_bound(state, descent.refuted);
  }

  void find_any(State& state) {
    Aim aim;
    const int pool = state.part.pool;
    aim.capacity = pool >= 0 && pool != pool_ ? problem_.capacities[pool] : enough(problem_);
    state.solver->round(aim, nullptr, watch_);
    if (aim.outcome == Outcome::kFound) take(state, aim.placement, top_of(state.part, aim.placement));
    state.hopeless = aim.outcome == Outcome::kRefuted;
  }

  // Nothing fits this capacity: the next one that an arena can have is the new bound.
  void raise_bound(State& state, int64_t capacity) {
    const int64_t unit = state.solver->unit();
    state.bound = std::max(state.bound, (capacity / unit + 1) * unit);
    if (told_) tell();
  }

  int64_t top_of(const Part& part, const Placement& placement) const {
    int64_t top = 0;
    for (int k : part.members) {
      if (placement.pools[k] == pool_) top = std::max(top, placement.offsets[k] + problem_.buffers[k].size);
    }
    return top;
  }

  bool is_complete() const {
    return std::all_of(states_.begin(), states_.end(), [](const State& state) { return state.has_best; });
  }

  void tell() {
    if (!is_complete()) return;
    watch_.progress.arena = arena();
    watch_.progress.bound = std::min(bound(), arena());
    const bool is_news = history_.empty() || history_.back().arena != watch_.progress.arena ||
                         history_.back().bound != watch_.progress.bound;
    if (!is_news) return;
    watch_.tell();
    history_.push_back(watch_.progress);
  }

  Minimum finish(const std::string& stopped) {
    Minimum result;
    result.stopped = stopped;
    for (const State& state : states_) {
      result.nodes += state.solver->nodes();
      for (int k : state.part.members) {
        if (!state.has_best) continue;
        placement_.offsets[k] = state.best.offsets[k];
        placement_.pools[k] = state.best.pools[k];
      }
    }
    result.arena = arena();
    result.bound = std::min(bound(), result.arena);
    if (is_complete()) result.placement = placement_;
    if (stopped == "proved" && is_complete() && result.bound < result.arena) result.stopped = "too large to search";
    result.history = history_;
    result.cpu_seconds = watch_.cpu_seconds();
    return result;
  }

  const Problem& problem_;
  const Options& options_;
  Watch watch_;
  int pool_;
  int64_t floor_ = 0;
  bool told_ = false;
  std::deque<State> states_;  // solvers refer to their parts: these stay where they are
  Placement placement_;
  std::vector<Progress> history_;
};

}  // namespace

Minimum minimize(const Problem& problem, const Options& options) {
  validate(problem);
  return Minimizer(problem, options).run();
}

}  // namespace memline::packing
