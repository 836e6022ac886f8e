#include "core.hpp"

#include <algorithm>

#include "solver.hpp"

namespace memline::packing {
namespace {

constexpr size_t kMostMembers = 200;
constexpr int64_t kMostNodes = 2000;  // of one question

Outcome fits(const Problem& problem, const std::vector<int>& members, const Part& like) {
  const Part part{members, like.pool, like.plain};
  const std::atomic<bool> never{false};
  if (!part.plain) {
    GeneralSearch search(problem, members);
    std::vector<int64_t> capacities = problem.capacities;
    for (int64_t& capacity : capacities) {
      if (capacity == kNoCapacity) capacity = enough(problem);
    }
    return search.run(capacities, kMostNodes, never);
  }
  const Model model = make_model(problem, members);
  const Neighbours neighbours = make_neighbours(model);
  Search search(model, neighbours, 1 << 16, 0);
  return search.run({{Key::kTotal, Key::kArea, Key::kLife}}, problem.capacities[like.pool], kMostNodes, never);
}

}  // namespace

std::vector<int> irreducible_core(const Problem& problem, const Part& part, Watch& watch) {
  if (part.members.size() > kMostMembers) return {};
  std::vector<int> core = part.members;
  if (fits(problem, core, part) != Outcome::kRefuted) return {};
  for (size_t k = core.size(); k-- > 0;) {
    if (watch.expired()) return {};
    std::vector<int> fewer = core;
    fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(k));
    const Outcome outcome = fewer.empty() ? Outcome::kFound : fits(problem, fewer, part);
    if (outcome == Outcome::kCutShort) return {};
    if (outcome == Outcome::kRefuted) core = std::move(fewer);
  }
  std::sort(core.begin(), core.end());
  return core;
}

}  // namespace memline::packing
