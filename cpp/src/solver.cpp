#include "solver.hpp"

#include <algorithm>

#include "schedule.hpp"

namespace memline::packing {
namespace {

constexpr int kMostBuffers = 10000;               // deeper searches would need a deeper stack
constexpr int64_t kTableBytes = int64_t{1} << 23;  // more failed states than that do not stay in a cache
constexpr int64_t kBriefNodes = 4096;              // a few milliseconds: not worth a thread

}  // namespace

Solver::Solver(const Problem& problem, const Part& part, const Options& options)
    : problem_(problem), part_(part), options_(options), pool_(part.pool) {
  if (!part.plain) {
    searchable_ = part.members.size() <= 2000;
    return;
  }
  model_ = make_model(problem, part.members);
  const int64_t workers = std::max(options.threads, 2);
  const int64_t bytes = count_neighbours(*model_) * 20 + workers * Search::bytes_for(*model_);
  searchable_ = model_->count <= kMostBuffers && bytes <= options.memory_limit_bytes / 2;
  if (searchable_) neighbours_ = make_neighbours(*model_);
}

void Solver::make_workers(size_t count) {
  const int64_t share = options_.memory_limit_bytes / 2 / static_cast<int64_t>(std::max<size_t>(count, 2));
  while (part_.plain && fast_.size() < count) {
    const uint64_t seed = options_.seed * 1000003 + fast_.size();
    fast_.push_back(std::make_unique<Search>(*model_, neighbours_, std::min(share, kTableBytes), seed));
  }
  while (!part_.plain && general_.size() < count) {
    general_.push_back(std::make_unique<GeneralSearch>(problem_, part_.members));
  }
  tries_.resize(count, 0);
}

void Solver::round(std::vector<Aim>& aims, Watch& watch) {
  const size_t threads = static_cast<size_t>(std::max(options_.threads, 1));
  // With fewer threads than aims they take turns.
  const size_t workers = std::max(threads, aims.size());
  make_workers(workers);
  const size_t first = threads < aims.size() ? static_cast<size_t>(rounds_) * threads % aims.size() : 0;
  ++rounds_;
  std::vector<size_t> running;
  for (size_t t = 0; t < threads; ++t) {
    const size_t worker = threads < aims.size() ? (first + t) % aims.size() : t;
    if (part_.plain || worker < aims.size()) running.push_back(worker);  // the general search has only one way
  }
  std::vector<Job> jobs;
  int64_t longest = 0;
  for (size_t worker : running) {
    const int size = static_cast<int>(part_.members.size());
    const Aim& aim = aims[worker % aims.size()];
    const int tries = tries_[worker];
    const int rival = static_cast<int>(worker / aims.size());  // its number among those with the same aim
    // The general search is the same in every try: only a longer one comes further.
    const int64_t limit = part_.plain ? try_number(tries, rival, size).node_limit
                                      : int64_t{64} * size << std::min(tries, 30);
    longest = std::max(longest, limit);
    const int64_t capacity = aim.capacity;
    jobs.push_back([this, worker, rival, capacity, limit](const std::atomic<bool>& stop) {
      return run(worker, rival, capacity, limit, stop);
    });
  }
  const std::vector<Outcome> outcomes = run_round(jobs, longest <= kBriefNodes, watch);
  for (size_t k = 0; k < running.size(); ++k) {
    Aim& aim = aims[running[k] % aims.size()];
    ++tries_[running[k]];
    aim.was_tried = true;
    if (aim.outcome != Outcome::kCutShort || outcomes[k] == Outcome::kCutShort) continue;
    aim.outcome = outcomes[k];
    if (aim.outcome != Outcome::kFound) continue;
    aim.placement.offsets.assign(problem_.buffers.size(), 0);
    aim.placement.pools.assign(problem_.buffers.size(), 0);
    read(running[k], aim.placement);
  }
}

Outcome Solver::run(size_t worker, int rival, int64_t capacity, int64_t node_limit, const std::atomic<bool>& stop) {
  if (part_.plain) {
    const Try next = try_number(tries_[worker], rival, model_->count);
    return fast_[worker]->run(next.manner, capacity, node_limit, stop);
  }
  std::vector<int64_t> capacities = problem_.capacities;
  for (size_t p = 0; p < capacities.size(); ++p) {
    if (static_cast<int>(p) == pool_) capacities[p] = capacity;
    if (capacities[p] == kNoCapacity) capacities[p] = enough(problem_);
  }
  return general_[worker]->run(capacities, node_limit, stop);
}

void Solver::read(size_t worker, Placement& placement) const {
  if (!part_.plain) {
    general_[worker]->write(placement);
    return;
  }
  for (int j = 0; j < model_->count; ++j) {
    placement.offsets[model_->origin[j]] = fast_[worker]->offsets()[j] * model_->unit;
    placement.pools[model_->origin[j]] = part_.pool;
  }
}

int64_t Solver::nodes() const {
  int64_t sum = 0;
  for (const auto& search : fast_) sum += search->nodes();
  for (const auto& search : general_) sum += search->nodes();
  return sum;
}

}  // namespace memline::packing
