// The two exact searches know nothing of each other: on what both can do they have to agree.
#include <numeric>

#include "../src/general.hpp"
#include "../src/search.hpp"
#include "check.hpp"

using namespace memline::packing;

namespace {

const std::atomic<bool> never{false};
const std::vector<Manner> kManners = {
    {{Key::kLife, Key::kArea}}, {{Key::kTotal, Key::kSize}, 0.5, 0.5, 0.3, false}, {{Key::kArea, Key::kLife}, 0.5, 1.0, 0.1, true}};

void agree_on(const Problem& problem, int64_t capacity, int (&counts)[2]) {
  std::vector<int> members(problem.buffers.size());
  std::iota(members.begin(), members.end(), 0);
  GeneralSearch general(problem, members);
  const Outcome expected = general.run({capacity}, 1'000'000, never);
  CHECK(expected != Outcome::kCutShort);
  ++counts[expected == Outcome::kFound];
  Problem limited = problem;
  limited.capacities = {capacity};
  Placement placement{std::vector<int64_t>(members.size()), std::vector<int>(members.size())};
  if (expected == Outcome::kFound) {
    general.write(placement);
    CHECK(is_valid(limited, placement));
  }
  const Model model = make_model(problem, members);
  const Neighbours neighbours = make_neighbours(model);
  Search search(model, neighbours, 1 << 14, 1);
  for (const Manner& manner : kManners) {
    CHECK(search.run(manner, capacity, 1'000'000, never) == expected);
    if (expected != Outcome::kFound) continue;
    for (int j = 0; j < model.count; ++j) placement.offsets[model.origin[j]] = search.offsets()[j] * model.unit;
    CHECK(is_valid(limited, placement));
  }
}

// What one search remembers of a low capacity must not speak for a higher one.
void remember_across_capacities() {
  std::mt19937_64 random(5);
  for (int round = 0; round < 200; ++round) {
    const Problem problem = random_problem(random, 9, 6, 5, round % 2 == 1);
    std::vector<int> members(9);
    std::iota(members.begin(), members.end(), 0);
    const Model model = make_model(problem, members);
    const Neighbours neighbours = make_neighbours(model);
    Search kept(model, neighbours, 1 << 14, 1);
    size_t k = 0;
    for (int64_t capacity : {12, 9, 15, 11, 20, 10}) {
      ++k;
      Search fresh(model, neighbours, 1 << 14, 1);
      CHECK(kept.run(kManners[k % 3], capacity, 1'000'000, never) == fresh.run(kManners[k % 3], capacity, 1'000'000, never));
    }
  }
}

}  // namespace

int main() {
  std::mt19937_64 random(7);
  int counts[2] = {0, 0};
  for (int round = 0; round < 6000; ++round) {
    const bool rich = round % 2 == 1;
    const int count = 3 + static_cast<int>(random() % 7);
    const Problem problem = random_problem(random, count, 7, 5, rich);
    std::vector<int64_t> load(7, 0);
    for (const Buffer& b : problem.buffers) {
      for (const Segment& s : b.segments) {
        for (int64_t t = s.begin; t < s.end; ++t) load[t] += b.size;
      }
    }
    const int64_t peak = *std::max_element(load.begin(), load.end());
    agree_on(problem, peak + static_cast<int64_t>(random() % 2), counts);
  }
  CHECK(counts[0] > 300);
  CHECK(counts[1] > 300);
  remember_across_capacities();
  return 0;
}
