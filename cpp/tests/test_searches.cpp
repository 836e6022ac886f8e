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

// Bounds of every width, among buffers with gaps, against plain sums.
void pile_up_as_sums_do() {
  std::mt19937_64 random(11);
  for (int round = 0; round < 400; ++round) {
    const int64_t scale = round % 2 == 0 ? 1 : int64_t{1} << 40;
    Problem problem;
    for (int k = 0; k < 30; ++k) {
      const int64_t begin = static_cast<int64_t>(random() % 60), size = static_cast<int64_t>(random() % 9 + 1) * scale + 1;
      Buffer buffer = Buffer::alive(begin, begin + 1 + static_cast<int64_t>(random() % 30), size);
      const Segment whole = buffer.segments[0];
      if (whole.end - whole.begin > 8) buffer.segments = {{begin, begin + 3, 0, size}, {begin + 6, whole.end, 0, size}};
      problem.buffers.push_back(buffer);
    }
    std::vector<int> members(problem.buffers.size());
    std::iota(members.begin(), members.end(), 0);
    const Model model = make_model(problem, members);
    std::vector<Bounded> order;
    for (int j = 0; j < model.count; ++j) order.push_back({static_cast<int64_t>(random() % 20) * scale, j});
    std::stable_sort(order.begin(), order.end(), [](const Bounded& a, const Bounded& b) { return a.bound > b.bound; });
    // Whole blocks of sections; the last may be short.
    const int blocks = (model.sections + Pile::kLanes - 1) / Pile::kLanes, first = static_cast<int>(random() % blocks);
    const Range blocked{first, first + 1 + static_cast<int>(random() % (blocks - first))};
    const Range time{blocked.first * Pile::kLanes, std::min(blocked.last * Pile::kLanes, model.sections)};
    const int64_t capacity = static_cast<int64_t>(random() % 120) * scale;
    std::vector<int64_t> height(model.sections, 0);
    int expected = -1;
    for (size_t k = 0; k < order.size() && expected < 0; ++k) {
      const auto [bound, j] = order[k];
      for (int r = model.range_begin[j]; r < model.range_begin[j + 1]; ++r) {
        for (int s = std::max(model.ranges[r].first, time.first); s < std::min(model.ranges[r].last, time.last); ++s) {
          height[s] += model.size[j];
          if (height[s] + bound > capacity) expected = j;
        }
      }
    }
    Pile pile(model);
    CHECK(pile.first_too_high(order, time, capacity) == expected);
    for (int s = time.first; s < time.last; ++s) CHECK(pile.at(s) == height[s]);
  }
}

// With gaps, which are looked up, and without, where numbers in a row are compared.
void push_as_neighbours_do() {
  std::mt19937_64 random(13);
  for (int round = 0; round < 400; ++round) {
    Problem problem = random_problem(random, 40, round % 4 < 2 ? 8 : 200, 9, round % 2 == 1);
    std::vector<int> members(problem.buffers.size());
    std::iota(members.begin(), members.end(), 0);
    const Model model = make_model(problem, members);
    const Neighbours neighbours = make_neighbours(model);
    std::vector<int64_t> bounds;
    for (int j = 0; j < model.count; ++j) {
      bounds.push_back(random() % 4 == 0 ? Pushers::kAway : static_cast<int64_t>(random() % 20));
    }
    const Pushers pushers(model, neighbours);
    for (int j = 0; j < model.count; ++j) {
      const int64_t top = static_cast<int64_t>(random() % 25);
      int64_t expected = Pushers::kAway;
      for (int e = neighbours.begin[j]; e < neighbours.begin[j + 1]; ++e) {
        const int k = neighbours.all[e];
        if (bounds[k] < top) expected = std::min(expected, bounds[k] + model.size[k]);
      }
      CHECK(pushers.lowest_top(j, top, bounds) == expected);
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
  pile_up_as_sums_do();
  push_as_neighbours_do();
  return 0;
}
