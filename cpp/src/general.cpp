#include "general.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <set>
#include <unordered_map>

namespace memline::packing {
namespace {

// Above every sum of sizes that a problem may have, and far enough from the end of the numbers to be added to.
constexpr int64_t kOpen = std::numeric_limits<int64_t>::max() / 4;

int64_t aligned_down(int64_t offset, int64_t alignment) {
  return offset < 0 ? -aligned_up(-offset, alignment) : offset / alignment * alignment;
}

}  // namespace

GeneralSearch::GeneralSearch(const Problem& problem, const std::vector<int>& members)
    : problem_(problem), members_(members) {
  const int n = static_cast<int>(members_.size());
  std::unordered_map<int, int> local;
  for (int j = 0; j < n; ++j) local[members_[j]] = j;
  for (const Pair& pair : pairs_alive_together(problem_, members_)) {
    const Buffer &a = problem_.buffers[pair.a], &b = problem_.buffers[pair.b];
    meetings_.push_back({local[pair.a], local[pair.b], conflict(a, pair.a, b, pair.b)});
  }
  std::set<int64_t> begins;
  for (int k : members_) {
    for (const Segment& s : problem_.buffers[k].segments) begins.insert(s.begin);
  }
  for (int64_t time : begins) {
    std::vector<Piece> pieces;
    for (int j = 0; j < n; ++j) {
      const Buffer& b = problem_.buffers[members_[j]];
      const bool may_share = std::any_of(b.reuses.begin(), b.reuses.end(), [&](int k) {
        return problem_.buffers[k].segments.back().end > time;
      });
      for (const Segment& s : b.segments) {
        if (s.begin <= time && time < s.end && !may_share) pieces.push_back({j, s.first, s.last});
      }
    }
    times_.push_back(std::move(pieces));
  }
  for (int k : members_) aligned_ |= problem_.buffers[k].alignment > 1;
  queued_.assign(n, 0);
}

Outcome GeneralSearch::run(const std::vector<int64_t>& capacities, int64_t node_limit, const std::atomic<bool>& stop) {
  const size_t n = members_.size();
  capacities_ = capacities;
  nodes_left_ = node_limit;
  stop_ = &stop;
  was_cut_ = false;
  trail_.clear();
  queue_.clear();
  std::fill(queued_.begin(), queued_.end(), 0);
  above_.assign(n, {});
  below_.assign(n, {});
  low_.assign(n, 0);
  high_.assign(n, kOpen);
  pools_.assign(n, 0);
  for (size_t j = 0; j < n; ++j) {
    const Buffer& b = problem_.buffers[members_[j]];
    pools_[j] = b.pools & (capacities_.size() < 64 ? (uint64_t{1} << capacities_.size()) - 1 : ~uint64_t{0});
    if (b.offset >= 0) low_[j] = high_[j] = b.offset;
  }
  for (size_t j = 0; j < n; ++j) {
    if (!limit_to_pools(static_cast<int>(j))) return Outcome::kRefuted;
  }
  return propagate() ? descend() : failed();
}

void GeneralSearch::write(Placement& placement) const {
  for (size_t j = 0; j < members_.size(); ++j) {
    placement.offsets[members_[j]] = low_[j];
    placement.pools[members_[j]] = pool_of(static_cast<int>(j));
  }
}

int GeneralSearch::pool_of(int j) const { return std::countr_zero(pools_[j]); }

bool GeneralSearch::is_decided(int j) const { return std::has_single_bit(pools_[j]); }

void GeneralSearch::undo_to(size_t mark) {
  while (trail_.size() > mark) {
    const Change& change = trail_.back();
    switch (change.kind) {
      case Change::kLow: low_[change.buffer] = change.value; break;
      case Change::kHigh: high_[change.buffer] = change.value; break;
      case Change::kPools: pools_[change.buffer] = static_cast<uint64_t>(change.value); break;
      case Change::kEdge:
        below_[above_[change.buffer].back().to].pop_back();
        above_[change.buffer].pop_back();
        break;
    }
    trail_.pop_back();
  }
  for (int j : queue_) queued_[j] = 0;
  queue_.clear();
}

bool GeneralSearch::set_low(int j, int64_t low) {
  low = aligned_up(low, problem_.buffers[members_[j]].alignment);
  if (low <= low_[j]) return true;
  if (j == watched_) return false;
  trail_.push_back({Change::kLow, j, low_[j]});
  low_[j] = low;
  if (!queued_[j]) queue_.push_back(j);
  queued_[j] = 1;
  return low <= high_[j];
}

bool GeneralSearch::set_high(int j, int64_t high) {
  high = aligned_down(high, problem_.buffers[members_[j]].alignment);
  if (high >= high_[j]) return true;
  trail_.push_back({Change::kHigh, j, high_[j]});
  high_[j] = high;
  if (!queued_[j]) queue_.push_back(j);
  queued_[j] = 1;
  return low_[j] <= high;
}

// Leaves out the pools in which a buffer has no room any more, and keeps it within the largest that is left.
bool GeneralSearch::limit_to_pools(int j) {
  const int64_t size = problem_.buffers[members_[j]].size;
  uint64_t left = 0;
  int64_t highest = -1;
  for (size_t p = 0; p < capacities_.size(); ++p) {
    if (!(pools_[j] >> p & 1)) continue;
    const int64_t room = capacities_[p] == kNoCapacity ? kOpen : capacities_[p] - size;
    if (room < low_[j]) continue;
    left |= uint64_t{1} << p;
    highest = std::max(highest, room);
  }
  if (left != pools_[j]) {
    trail_.push_back({Change::kPools, j, static_cast<int64_t>(pools_[j])});
    pools_[j] = left;
  }
  return left != 0 && set_high(j, highest);
}

bool GeneralSearch::at_least(int a, int b, int64_t distance) {
  above_[b].push_back({a, distance});
  below_[a].push_back({b, distance});
  trail_.push_back({Change::kEdge, b, 0});
  // Where a's new place raises b in turn, the two chase each other for ever. Rounding to alignments can do so once.
  watched_ = aligned_ ? -1 : b;
  const bool holds = set_low(a, low_[b] + distance) && set_high(b, high_[a] - distance) && propagate();
  watched_ = -1;
  return holds;
}

bool GeneralSearch::propagate() {
  for (size_t next = 0; next < queue_.size(); ++next) {
    if (next % 4096 == 4095 && stop_->load(std::memory_order_relaxed)) {
      was_cut_ = true;
      return false;
    }
    const int j = queue_[next];
    queued_[j] = 0;
    if (capacities_.size() > 1 && !limit_to_pools(j)) return false;
    for (const Edge& edge : above_[j]) {
      if (!set_low(edge.to, low_[j] + edge.distance)) return false;
    }
    for (const Edge& edge : below_[j]) {
      if (!set_high(edge.to, high_[j] - edge.distance)) return false;
    }
  }
  queue_.clear();
  return true;
}

// At every time all that lies at an offset or above has to fit between it and the capacity.
bool GeneralSearch::load_fits() {
  std::vector<std::pair<int64_t, int64_t>> spans;
  for (const std::vector<Piece>& pieces : times_) {
    for (size_t p = 0; p < capacities_.size(); ++p) {
      if (capacities_[p] == kNoCapacity) continue;
      spans.clear();
      for (const Piece& piece : pieces) {
        if (pools_[piece.buffer] != uint64_t{1} << p) continue;
        spans.emplace_back(low_[piece.buffer] + piece.first, piece.last - piece.first);
      }
      std::sort(spans.begin(), spans.end(), std::greater<>());
      int64_t sum = 0;
      for (auto [low, height] : spans) {
        sum += height;
        if (low + sum > capacities_[p]) return false;
      }
    }
  }
  return true;
}

// The collision, with all as low as they can be, that leaves the least room on either side.
GeneralSearch::Choice GeneralSearch::next_choice() {
  Choice best;
  int64_t least = std::numeric_limits<int64_t>::max();
  for (size_t k = 0; k < meetings_.size(); ++k) {
    const Meeting& meeting = meetings_[k];
    const int a = meeting.a, b = meeting.b;
    if (pool_of(a) != pool_of(b)) continue;
    const int64_t apart = low_[a] - low_[b];
    for (const Forbidden& range : meeting.forbidden) {
      if (apart < range.first || apart > range.last) continue;
      Choice choice;
      choice.meeting = static_cast<int>(k);
      if (!is_decided(a) || !is_decided(b)) {
        choice.pools = true;
        choice.buffer = is_decided(a) ? b : a;
        return choice;
      }
      choice.up = range.last + 1;
      choice.down = range.first - 1;
      const int64_t room_up = high_[a] - (low_[b] + choice.up), room_down = high_[b] - (low_[a] - choice.down);
      choice.can_go_up = room_up >= 0;
      choice.can_go_down = room_down >= 0;
      const int64_t room = std::min(room_up, room_down);
      if (room < least) {
        least = room;
        best = choice;
      }
      if (!choice.can_go_up && !choice.can_go_down) return choice;
    }
  }
  return best;
}

Outcome GeneralSearch::descend() {
  if (--nodes_left_ < 0 || ((nodes_ & 63) == 0 && stop_->load(std::memory_order_relaxed))) return Outcome::kCutShort;
  ++nodes_;
  if (!load_fits()) return Outcome::kRefuted;
  const Choice choice = next_choice();
  if (choice.meeting < 0) return Outcome::kFound;
  if (choice.pools) {
    for (size_t p = 0; p < capacities_.size(); ++p) {
      if (!(pools_[choice.buffer] >> p & 1)) continue;
      const size_t mark = trail_.size();
      const Outcome outcome = try_pool(choice.buffer, static_cast<int>(p));
      if (outcome != Outcome::kRefuted) return outcome;
      undo_to(mark);
    }
    return Outcome::kRefuted;
  }
  // Whoever has to be raised less is raised first.
  const Meeting& meeting = meetings_[choice.meeting];
  const int64_t raise_a = low_[meeting.b] + choice.up - low_[meeting.a];
  const int64_t raise_b = low_[meeting.a] - choice.down - low_[meeting.b];
  const size_t mark = trail_.size();
  const bool up_first = raise_a <= raise_b;
  for (bool up : {up_first, !up_first}) {
    const Outcome outcome = branch(choice, up);
    if (outcome != Outcome::kRefuted) return outcome;
    undo_to(mark);
  }
  return Outcome::kRefuted;
}

Outcome GeneralSearch::branch(const Choice& choice, bool up) {
  const Meeting& meeting = meetings_[choice.meeting];
  const bool holds = up ? choice.can_go_up && at_least(meeting.a, meeting.b, choice.up)
                        : choice.can_go_down && at_least(meeting.b, meeting.a, -choice.down);
  return holds ? descend() : failed();
}

Outcome GeneralSearch::try_pool(int j, int pool) {
  trail_.push_back({Change::kPools, j, static_cast<int64_t>(pools_[j])});
  pools_[j] = uint64_t{1} << pool;
  return limit_to_pools(j) && propagate() ? descend() : failed();
}

}  // namespace memline::packing
