#include "solver.hpp"

#include <algorithm>

#include "schedule.hpp"

namespace memline::packing {
namespace {

constexpr int kMostBuffers = 10000;               // deeper searches would need a deeper stack
constexpr int64_t kTableBytes = int64_t{1} << 23;  // more failed states than that do not stay in a cache
constexpr int64_t kBriefNodes = 4096;              // a few milliseconds: not worth a thread
constexpr int64_t kRoundNodes = 16;                // for each buffer: threads wait for each other after so many

// Of one part: a thread that goes down in one round and seeks the proof in the next one has a worker for either.
int64_t most_workers(const Options& options) {
  const int64_t threads = std::max(options.threads, 1);
  return threads + (threads + 1) / 2;
}

// The general search is the same in every try: only a longer one comes further.
int64_t general_limit(const Part& part, int number) {
  return int64_t{64} * static_cast<int64_t>(part.members.size()) << std::min(number, 30);
}

}  // namespace

Solver::Solver(const Problem& problem, const Part& part, const Options& options)
    : problem_(problem), part_(part), options_(options), pool_(part.pool) {
  if (!part.plain) {
    searchable_ = part.members.size() <= 2000;
    return;
  }
  model_ = make_model(problem, part.members);
  const int64_t bytes = count_neighbours(*model_) * 20 + most_workers(options) * Search::bytes_for(*model_);
  searchable_ = model_->count <= kMostBuffers && bytes <= options.memory_limit_bytes / 2;
  if (searchable_) neighbours_ = make_neighbours(*model_);
}

void Solver::make(Worker& worker) {
  const int64_t share = options_.memory_limit_bytes / 2 / most_workers(options_);
  if (part_.plain) {
    worker.fast = std::make_unique<Search>(*model_, neighbours_, std::min(share, kTableBytes), next_seed());
  } else {
    worker.general = std::make_unique<GeneralSearch>(problem_, part_.members);
  }
}

void Solver::round(Aim& aim, Descent* descent, Watch& watch) {
  const int threads = std::max(options_.threads, 1);
  // The general search has only one way of going about it.
  const int most = part_.plain ? threads : 1;
  // The proof is sought in every fourth round: most proofs come with the first few tries or after very many, and between
  // those the way down needs the time more. One thread alone seeks it in every second round at first.
  const bool is_open = workers_.empty() || workers_[0].tries < kOpeningNumbers;
  const bool is_turn = rounds_ % (threads == 1 && is_open ? 2 : 4) == 0;
  const int first_descender = (most + 1) / 2;
  const int seekers = descent == nullptr ? most : is_turn ? first_descender : 0;
  const int descenders = descent == nullptr || (threads == 1 && is_turn) ? 0 : std::max(most - seekers, 1);
  workers_.resize(std::max<size_t>(workers_.size(), std::max(first_descender + descenders, seekers)));
  ++rounds_;

  std::vector<Job> jobs;
  std::vector<Descent> ways(descenders, descent == nullptr ? Descent{} : *descent);
  int64_t nodes = descent == nullptr ? 0 : kRoundNodes * static_cast<int64_t>(part_.members.size());
  // Rounds without a seeker are as long as those with one: it is time that is shared out.
  for (int k = 0; k < std::max(seekers, 1); ++k) nodes = std::max(nodes, seeking(workers_[k].tries, k).node_limit);
  for (int k = 0; k < seekers; ++k) {
    Worker& worker = workers_[k];
    if (!worker.fast && !worker.general) make(worker);
    jobs.push_back([this, k, &worker, &aim, nodes](const std::atomic<bool>& stop) {
      return seek(worker, k, aim.capacity, nodes, stop);
    });
  }
  for (int k = 0; k < descenders; ++k) {
    Worker& worker = workers_[first_descender + k];
    if (!worker.fast && !worker.general) make(worker);
    if (!worker.ladder) worker.ladder.emplace(k, part_.plain ? kOrderCount : 1);
    jobs.push_back([this, &worker, &way = ways[k], nodes](const std::atomic<bool>& stop) {
      descend(worker, way, nodes, stop);
      return Outcome::kCutShort;  // however low it came, it may come lower
    });
  }
  const std::vector<Outcome> outcomes = run_round(jobs, nodes <= kBriefNodes, watch);

  size_t told = jobs.size();
  for (int k = seekers - 1; k >= 0; --k) {
    if (outcomes[k] != Outcome::kCutShort) told = k;
  }
  if (told < jobs.size()) {
    aim.outcome = outcomes[told];
    if (aim.outcome == Outcome::kFound) read(workers_[told], aim.placement);
  }
  for (Descent& way : ways) {
    if (told < jobs.size()) break;
    descent->refuted = std::max(descent->refuted, way.refuted);
    if (!way.is_lower || (descent->is_lower && way.arena >= descent->arena)) continue;
    descent->arena = way.arena;
    descent->placement = std::move(way.placement);
    descent->is_lower = true;
  }
  // Those after the first that knew were stopped at some point of time or other: what they learnt is not the same in every
  // run, and goes.
  for (size_t k = told + 1; k < jobs.size(); ++k) {
    Worker& worker = workers_[k < static_cast<size_t>(seekers) ? k : first_descender + k - seekers];
    if (worker.fast) worker.fast->forget(next_seed());
    worker.tries = 0;
    worker.ladder.reset();
  }
}

Outcome Solver::seek(Worker& worker, int rival, int64_t capacity, int64_t most_nodes, const std::atomic<bool>& stop) {
  const int64_t last = nodes_of(worker) + most_nodes;
  while (true) {
    const Outcome outcome = run(worker, capacity, seeking(worker.tries++, rival), stop);
    if (outcome != Outcome::kCutShort || stop) return outcome;
    if (nodes_of(worker) + seeking(worker.tries, rival).node_limit > last) return outcome;
  }
}

void Solver::descend(Worker& worker, Descent& way, int64_t most_nodes, const std::atomic<bool>& stop) {
  const int64_t last = nodes_of(worker) + most_nodes;
  while (!stop && nodes_of(worker) < last && way.arena - way.least > unit()) {
    const Attempt attempt = worker.ladder->next(way.least, way.arena, unit());
    const Outcome outcome = run(worker, attempt.capacity, descending(attempt.number), stop);
    if (outcome == Outcome::kRefuted) way.least = way.refuted = attempt.capacity;
    if (outcome != Outcome::kFound) continue;
    worker.ladder->found();
    read(worker, way.placement);
    way.arena = 0;
    for (int k : part_.members) {
      if (way.placement.pools[k] != pool_) continue;
      way.arena = std::max(way.arena, way.placement.offsets[k] + problem_.buffers[k].size);
    }
    way.is_lower = true;
  }
}

Try Solver::seeking(int number, int rival) const {
  return part_.plain ? try_number(number, rival, model_->count) : Try{{}, general_limit(part_, number)};
}

Try Solver::descending(int number) const {
  return part_.plain ? rung_number(number, model_->count) : Try{{}, general_limit(part_, number)};
}

Outcome Solver::run(Worker& worker, int64_t capacity, const Try& next, const std::atomic<bool>& stop) {
  if (part_.plain) return worker.fast->run(next.manner, capacity, next.node_limit, stop);
  std::vector<int64_t> capacities = problem_.capacities;
  for (size_t p = 0; p < capacities.size(); ++p) {
    if (static_cast<int>(p) == pool_) capacities[p] = capacity;
    if (capacities[p] == kNoCapacity) capacities[p] = enough(problem_);
  }
  return worker.general->run(capacities, next.node_limit, stop);
}

void Solver::read(const Worker& worker, Placement& placement) const {
  placement.offsets.assign(problem_.buffers.size(), 0);
  placement.pools.assign(problem_.buffers.size(), 0);
  if (!part_.plain) {
    worker.general->write(placement);
    return;
  }
  for (int j = 0; j < model_->count; ++j) {
    placement.offsets[model_->origin[j]] = worker.fast->offsets()[j] * model_->unit;
    placement.pools[model_->origin[j]] = part_.pool;
  }
}

int64_t Solver::nodes_of(const Worker& worker) const {
  return worker.fast ? worker.fast->nodes() : worker.general ? worker.general->nodes() : 0;
}

int64_t Solver::nodes() const {
  int64_t sum = 0;
  for (const Worker& worker : workers_) sum += nodes_of(worker);
  return sum;
}

}  // namespace memline::packing
