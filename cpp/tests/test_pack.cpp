#include "check.hpp"

using namespace memline::packing;

namespace {

void answers_are_three() {
  Problem problem;
  problem.buffers = {Buffer::alive(0, 3, 4), Buffer::alive(3, 9, 4), Buffer::alive(0, 9, 4), Buffer::alive(9, 21, 4),
                     Buffer::alive(0, 21, 4)};
  problem.capacities = {12};
  const Answer fits = pack(problem);
  CHECK(fits.status == Status::kFits);
  CHECK(is_valid(problem, fits.placement));
  problem.capacities = {11};
  const Answer not_fits = pack(problem);
  CHECK(not_fits.status == Status::kInfeasible);
  CHECK(not_fits.has_overload && not_fits.overload.load == 12 && not_fits.overload.capacity == 11);
  CHECK(not_fits.placement.offsets.empty());
}

// Many buffers alike in sizes that do not add up: nothing short of a search can know, and it is out of time at once.
void a_limit_is_no_proof() {
  std::mt19937_64 random(3);
  Problem problem = random_problem(random, 300, 60, 1000, false);
  int64_t peak = 0;
  for (int64_t t = 0; t < 60; ++t) {
    int64_t load = 0;
    for (const Buffer& b : problem.buffers) load += b.segments[0].begin <= t && t < b.segments[0].end ? b.size : 0;
    peak = std::max(peak, load);
  }
  problem.capacities = {peak};
  int calls = 0;
  Options options;
  options.time_limit_seconds = 1e-6;
  const Answer answer = pack(problem, options);
  CHECK(answer.status == Status::kUnknown);
  options.time_limit_seconds = 20;
  options.interrupted = [&](const Progress&) { return ++calls > 1; };
  const Answer stopped = pack(problem, options);
  CHECK(stopped.status != Status::kInfeasible);
}

void features_hold() {
  std::mt19937_64 random(11);
  for (int round = 0; round < 2000; ++round) {
    Problem problem = random_problem(random, 2 + static_cast<int>(random() % 8), 8, 6, true);
    problem.capacities = {4 + static_cast<int64_t>(random() % 16), 3 + static_cast<int64_t>(random() % 6)};
    for (Buffer& b : problem.buffers) b.pools = 1 + random() % 3;
    for (Buffer& b : problem.buffers) {
      if (b.segments.size() == 1 && b.size > 1 && random() % 3 == 0) b.segments[0].first = 1;  // a window
    }
    const Answer answer = pack(problem);
    CHECK(answer.status != Status::kUnknown);
    if (answer.status == Status::kFits) CHECK(is_valid(problem, answer.placement));
  }
}

void reuse_takes_the_same_place() {
  Problem problem;
  problem.buffers = {Buffer::alive(0, 4, 8), Buffer::alive(3, 9, 8)};
  problem.capacities = {8};
  CHECK(pack(problem).status == Status::kInfeasible);
  problem.buffers[1].reuses = {0};
  const Answer answer = pack(problem);
  CHECK(answer.status == Status::kFits);
  CHECK(answer.placement.offsets[0] == 0 && answer.placement.offsets[1] == 0);
}

void hints_are_taken() {
  Problem problem;
  problem.buffers = {Buffer::alive(0, 4, 8), Buffer::alive(0, 4, 8)};
  problem.buffers[1].hint = 20;
  problem.capacities = {40};
  CHECK(pack(problem).placement.offsets[1] == 20);
}

// The same answer in every run, also with several threads.
void threads_do_not_race() {
  std::mt19937_64 random(17);
  for (int round = 0; round < 10; ++round) {
    Problem problem = random_problem(random, 40, 20, 50, false);
    const Minimum best = minimize(problem.without_capacity(), {.time_limit_seconds = 5, .threads = 3});
    problem.capacities = {best.arena};
    const Answer one = pack(problem, {.threads = 3, .seed = 4}), two = pack(problem, {.threads = 3, .seed = 4});
    CHECK(one.status == two.status);
    CHECK(one.placement.offsets == two.placement.offsets);
  }
}

}  // namespace

int main() {
  answers_are_three();
  a_limit_is_no_proof();
  features_hold();
  reuse_takes_the_same_place();
  hints_are_taken();
  threads_do_not_race();
  return 0;
}
