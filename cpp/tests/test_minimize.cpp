#include "check.hpp"

using namespace memline::packing;

namespace {

void the_arena_is_the_smallest() {
  std::mt19937_64 random(23);
  for (int round = 0; round < 400; ++round) {
    Problem problem = random_problem(random, 2 + static_cast<int>(random() % 9), 9, 6, round % 2 == 1);
    const Minimum best = minimize(problem, {.threads = 1 + round % 2});
    if (best.placement.offsets.empty()) continue;  // what is fixed collides
    CHECK(best.stopped == "proved");
    CHECK(best.arena == best.bound);
    problem.capacities = {best.arena};
    CHECK(is_valid(problem, best.placement));
    problem.capacities = {best.arena - 1};
    CHECK(best.arena == 0 || pack(problem).status == Status::kInfeasible);
  }
}

void other_pools_keep_their_capacity() {
  Problem problem;
  problem.buffers = {Buffer::alive(0, 4, 8), Buffer::alive(0, 4, 6), Buffer::alive(0, 4, 5)};
  problem.capacities = {8, kNoCapacity};
  const Minimum best = minimize(problem);
  CHECK(is_valid(problem, best.placement));
  CHECK(best.arena == 11 && best.bound == 11);
}

void progress_only_improves() {
  std::mt19937_64 random(29);
  const Problem problem = random_problem(random, 200, 50, 1000, false);
  std::vector<Progress> told;
  Options options;
  options.time_limit_seconds = 0.5;
  options.interrupted = [&](const Progress& progress) {
    told.push_back(progress);
    return false;
  };
  const Minimum best = minimize(problem, options);
  CHECK(!told.empty() && !best.history.empty());
  CHECK(best.history.back().arena == best.arena);
  for (size_t k = 1; k < best.history.size(); ++k) {
    CHECK(best.history[k].arena <= best.history[k - 1].arena);
    CHECK(best.history[k].bound >= best.history[k - 1].bound);
  }
  CHECK(is_valid(problem, best.placement));
}

void the_same_in_every_run() {
  std::mt19937_64 random(37);
  for (int round = 0; round < 60; ++round) {
    const Problem problem = random_problem(random, 10 + round % 8, 12, 9, round % 2 == 1);
    for (int threads : {2, 3, 5}) {
      const Minimum one = minimize(problem, {.threads = threads, .seed = 3});
      const Minimum two = minimize(problem, {.threads = threads, .seed = 3});
      CHECK(one.stopped == two.stopped && one.arena == two.arena && one.bound == two.bound);
      CHECK(one.placement.offsets == two.placement.offsets);
      CHECK(one.history.size() == two.history.size());
    }
  }
}

void many_buffers_have_a_gap() {
  std::mt19937_64 random(31);
  const Problem problem = random_problem(random, 6000, 30000, 1000, false);
  const Minimum best = minimize(problem, {.time_limit_seconds = 3});
  CHECK(best.arena >= best.bound);
  CHECK(best.arena - best.bound <= best.bound / 20);
}

}  // namespace

int main() {
  the_arena_is_the_smallest();
  other_pools_keep_their_capacity();
  progress_only_improves();
  the_same_in_every_run();
  many_buffers_have_a_gap();
  return 0;
}
