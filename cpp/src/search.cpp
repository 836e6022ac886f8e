#include "search.hpp"

#include <algorithm>
#include <array>
#include <limits>

namespace memline::packing {
namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
constexpr int64_t kUnknown = -1;  // a bound that was never asked for

uint64_t mix(uint64_t x) {
  x ^= x >> 31;
  x *= 0x9E3779B97F4A7C15ull;
  x ^= x >> 29;
  x *= 0xBF58476D1CE4E5B9ull;
  return x ^ (x >> 32);
}

}  // namespace

int64_t Search::bytes_for(const Model& model) {
  const int64_t n = model.count;
  return n * n / 2 * static_cast<int64_t>(sizeof(Bounded)) + n * 512 + model.sections * 16;
}

Search::Search(const Model& model, const Neighbours& neighbours, int64_t table_bytes, uint64_t seed)
    : m_(model), near_(neighbours), pile_(model), pushers_(model, neighbours), failed_under_(kNever), random_(seed) {
  const int n = m_.count;
  low_.assign(n, 0);
  bound_.assign(n, 0);
  postponed_.assign(n, 0);
  placed_.assign(n, 0);
  crossing_.assign(m_.sections, 0);
  load_.assign(m_.sections, 0);
  rank_.assign(n, 0);
  total_.assign(n, 0);
  noise_.assign(n, 1.0);
  failures_.assign(std::max(m_.sections, 1), 0);
  next_twin_.assign(n, -1);
  frames_.resize(n + 2);
  for (int j = 0; j < n; ++j) {
    if (m_.twin[j] >= 0) next_twin_[m_.twin[j]] = j;
    kind_mark_.push_back(mix(static_cast<uint64_t>(m_.kind[j]) + 0x51ED27));
  }
  uint64_t slots = 1 << 10;
  while (slots * 2 * sizeof(Mark) <= static_cast<uint64_t>(std::max<int64_t>(table_bytes, 0))) slots *= 2;
  failed_.assign(slots, Mark{});
  failed_mask_ = slots - 1;
}

Outcome Search::run(const Manner& manner, int64_t capacity, int64_t node_limit, const std::atomic<bool>& stop) {
  const int n = m_.count;
  how_ = manner;
  capacity_ = capacity / m_.unit;
  if (capacity_ > failed_under_) forget_failures();
  failed_under_ = capacity_ > failed_under_ ? capacity_ : std::min(failed_under_, capacity_);
  nodes_left_ = node_limit;
  stop_ = &stop;
  trail_.clear();
  last_placed_ = -1;
  for (double& count : failures_) count *= 0.7;
  most_failures_ = std::max(1.0, *std::max_element(failures_.begin(), failures_.end()));
  std::fill(placed_.begin(), placed_.end(), 0);
  std::fill(postponed_.begin(), postponed_.end(), 0);
  std::fill(crossing_.begin(), crossing_.end(), 0);
  for (int j = 0; j < n; ++j) {
    low_[j] = std::max<int64_t>(m_.fixed[j], 0);
    for (int s = m_.hull[j].first; s + 1 < m_.hull[j].last; ++s) ++crossing_[s];
  }
  if (manner.noise > 0) {
    std::uniform_real_distribution<double> factor(1.0, 1.0 + manner.noise);
    for (double& x : noise_) x = factor(random_);
  } else {
    std::fill(noise_.begin(), noise_.end(), 1.0);
  }
  std::vector<Bounded> all(n);
  for (int j = 0; j < n; ++j) all[j] = {kUnknown, j};
  rank_members(all);
  // Parts that share no time are searched one after the other: descend_parts without a placement.
  return descend_parts(-1, all, {0, m_.sections}, 0);
}

void Search::forget(uint64_t seed) {
  forget_failures();
  failed_under_ = kNever;
  std::fill(failures_.begin(), failures_.end(), 0);
  random_.seed(seed);
  chance_.reset();
}

// Far quicker than to clear the table: that takes as long as some hundred states.
void Search::forget_failures() { salt_ = mix(salt_ + 1); }

void Search::rank_members(const std::vector<Bounded>& left) {
  std::vector<int> members;
  for (const Bounded& one : left) members.push_back(one.buffer);
  for (int j : members) {
    for (int s = m_.hull[j].first; s < m_.hull[j].last; ++s) load_[s] = 0;
  }
  auto for_sections = [&](int j, auto visit) {
    for (int r = m_.range_begin[j]; r < m_.range_begin[j + 1]; ++r) {
      for (int s = m_.ranges[r].first; s < m_.ranges[r].last; ++s) visit(load_[s]);
    }
  };
  for (int j : members) for_sections(j, [&](int64_t& load) { load += m_.size[j]; });
  for (int j : members) {
    total_[j] = 0;
    for_sections(j, [&](int64_t& load) { total_[j] = std::max(total_[j], load); });
  }
  struct Entry {
    std::array<double, 3> keys;
    int buffer;
  };
  std::vector<Entry> entries;
  entries.reserve(members.size());
  for (int j : members) {
    Entry entry{{0, 0, 0}, j};
    const double factor = noise_[j] * (how_.learning > 0 ? 1 + how_.learning * blame_on(j) : 1);
    for (size_t k = 0; k < how_.keys.size() && k < entry.keys.size(); ++k) {
      double value = 0;
      switch (how_.keys[k]) {
        case Key::kLife: value = static_cast<double>(m_.life[j]); break;
        case Key::kArea: value = static_cast<double>(m_.life[j]) * static_cast<double>(m_.size[j]); break;
        case Key::kTotal: value = static_cast<double>(total_[j]); break;
        case Key::kSize: value = static_cast<double>(m_.size[j]); break;
      }
      entry.keys[k] = value * factor;
    }
    entries.push_back(entry);
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.keys != b.keys ? a.keys > b.keys : a.buffer < b.buffer;
  });
  for (size_t k = 0; k < entries.size(); ++k) rank_[entries[k].buffer] = static_cast<int>(k);
}

void Search::raise(int j, int64_t to) {
  trail_.push_back({j, postponed_[j] != 0, false, low_[j]});
  low_[j] = to;
  postponed_[j] = 0;
}

void Search::postpone(int j) {
  const int64_t low = low_[j];
  // What is true of one is true of those like it, which come after it.
  for (int k = j; k >= 0; k = next_twin_[k]) {
    if (placed_[k] || postponed_[k] || low_[k] != low) continue;
    trail_.push_back({k, false, false, low_[k]});
    postponed_[k] = 1;
  }
}

void Search::undo_to(size_t mark) {
  while (trail_.size() > mark) {
    const Change& change = trail_.back();
    const int j = change.buffer;
    if (change.is_placement) {
      placed_[j] = 0;
      for (int s = m_.hull[j].first; s + 1 < m_.hull[j].last; ++s) ++crossing_[s];
    } else {
      low_[j] = change.low;
      postponed_[j] = change.was_postponed;
    }
    trail_.pop_back();
  }
}

// Places a buffer at its lowest offset. False if a fixed one would have to give way; `splits` if some time is crossed by
// nothing any more.
bool Search::place(int j, bool& splits) {
  placed_[j] = 1;
  bound_[j] = Pushers::kAway;
  trail_.push_back({j, false, true, 0});
  for (int s = m_.hull[j].first; s + 1 < m_.hull[j].last; ++s) {
    if (--crossing_[s] == 0) splits = true;
  }
  const int64_t top = low_[j] + m_.size[j];
  for (int e = near_.begin[j]; e < near_.begin[j + 1]; ++e) {
    const int k = near_.all[e];
    if (placed_[k] || low_[k] >= top) continue;
    if (!m_.rich) {
      raise(k, top);
    } else if (m_.fixed[k] >= 0) {
      return false;
    } else {
      raise(k, aligned_up(top, m_.alignment[k]));
    }
  }
  return true;
}

bool Search::can_be_pushed(int j) const {
  const int64_t top = low_[j] + m_.size[j];
  for (int e = near_.begin[j]; e < near_.begin[j + 1]; ++e) {
    if (bound_[near_.all[e]] < top) return true;
  }
  return false;
}

// Whether a fixed buffer that is not placed yet lies where this one would.
bool Search::hits_fixed(int j) const {
  const int64_t top = low_[j] + m_.size[j];
  for (int e = near_.begin[j]; e < near_.begin[j + 1]; ++e) {
    const int k = near_.all[e];
    if (!placed_[k] && m_.fixed[k] >= 0 && m_.fixed[k] < top) return true;
  }
  return false;
}

// Raises the bounds of what is postponed to the lowest top of those that may push it. False if nothing may.
bool Search::bound_postponed() {
  for (int pass = 0; pass < 2; ++pass) {
    for (auto it = waiting_.rbegin(); it != waiting_.rend(); ++it) {
      const int j = *it;
      const int64_t lowest = pushers_.lowest_top(j, low_[j] + m_.size[j], bound_);
      if (lowest == Pushers::kAway) return false;
      bound_[j] = std::max(bound_[j], lowest);
    }
  }
  return true;
}

// False if what is left cannot fit. Sets the bounds and sorts `left` by them, the highest first.
bool Search::may_fit(std::vector<Bounded>& left) {
  int64_t lowest = kNever;
  waiting_.clear();
  for (const Bounded& one : left) {
    const int j = one.buffer;
    if (postponed_[j]) {
      waiting_.push_back(j);
    } else {
      bound_[j] = low_[j];
      lowest = std::min(lowest, low_[j]);
    }
  }
  if (lowest == kNever) return left.empty();
  for (int j : waiting_) bound_[j] = std::max(low_[j], lowest) + 1;
  if (!bound_postponed()) return false;
  const Range time = sort_by_bounds(left);
  if (time.first >= time.last) return true;
  const int misfit = pile_.first_too_high(left, time, capacity_);
  if (misfit >= 0 && how_.learning > 0) blame(misfit, time);
  return misfit < 0;
}

// Brings what is left up to date and in order, and returns the time at which it has changed: at all others it fits, as it did
// when it was last asked for.
Range Search::sort_by_bounds(std::vector<Bounded>& left) {
  // Written without a branch: which ones have changed, no processor can foresee.
  changed_.resize(left.size());
  size_t kept = 0, count = 0;
  for (const Bounded one : left) {
    const int64_t bound = bound_[one.buffer];
    const bool has_changed = bound != one.bound;
    left[kept] = one;  // these are in order still
    changed_[count] = {bound, one.buffer};
    kept += !has_changed;
    count += has_changed;
  }
  changed_.resize(count);
  Range time{m_.sections, 0};
  for (const Bounded& one : changed_) {
    time.first = std::min(time.first, m_.hull[one.buffer].first);
    time.last = std::max(time.last, m_.hull[one.buffer].last);
  }
  const auto is_before = [](const Bounded& a, const Bounded& b) { return a.bound > b.bound; };
  // Most were pushed up by one buffer, to its top.
  if (!std::is_sorted(changed_.begin(), changed_.end(), is_before)) {
    std::stable_sort(changed_.begin(), changed_.end(), is_before);
  }
  size_t next = changed_.size();
  for (size_t at = left.size(); next > 0; --at) {
    const bool is_lower = kept > 0 && is_before(changed_[next - 1], left[kept - 1]);
    left[at - 1] = is_lower ? left[--kept] : changed_[--next];
  }
  return time;
}

// Counts a failure for the sections at which there is too much above a buffer.
void Search::blame(int j, Range time) {
  for (int r = m_.range_begin[j]; r < m_.range_begin[j + 1]; ++r) {
    const int last = std::min(m_.ranges[r].last, time.last);
    for (int s = std::max(m_.ranges[r].first, time.first); s < last; ++s) {
      if (pile_.at(s) + bound_[j] > capacity_) failures_[s] += 1;
    }
  }
}

// The share of the worst section's failures that a buffer's worst section has.
double Search::blame_on(int j) const {
  double most = 0;
  for (int r = m_.range_begin[j]; r < m_.range_begin[j + 1]; ++r) {
    for (int s = m_.ranges[r].first; s < m_.ranges[r].last; ++s) most = std::max(most, failures_[s]);
  }
  return most / most_failures_;
}

// The buffer to decide on next, -1 if all are postponed. Any will do of which it is sure that nothing fits below it.
int Search::pick(const std::vector<Bounded>& left) const {
  if (how_.is_local && last_placed_ >= 0) {
    int j = pick_lowest(left, m_.hull[last_placed_]);
    while (j >= 0) {
      bool any = false;
      const int below = what_fits_below(j, any);
      if (!any) return j;
      j = below;
    }
  }
  return pick_lowest(left, {0, m_.sections});
}

// The buffer with the lowest offset among those that live near some time; of several the one that ranks first.
int Search::pick_lowest(const std::vector<Bounded>& left, Range near) const {
  int best = -1;
  for (auto it = left.rbegin(); it != left.rend(); ++it) {
    const int j = it->buffer;
    if (best >= 0 && it->bound > low_[best]) break;  // sorted by bounds: all others are higher
    if (postponed_[j] || (m_.twin[j] >= 0 && !placed_[m_.twin[j]])) continue;
    if (m_.hull[j].last <= near.first || m_.hull[j].first >= near.last) continue;
    if (best < 0 || low_[j] < low_[best] || (low_[j] == low_[best] && rank_[j] < rank_[best])) best = j;
  }
  return best;
}

// Whether any buffer that is left could lie below this one where it would lie, and of those the lowest that may be decided
// on; -1 if there is none.
int Search::what_fits_below(int j, bool& any) const {
  int lowest = -1;
  for (int e = near_.begin[j]; e < near_.begin[j + 1]; ++e) {
    const int k = near_.all[e];
    if (placed_[k] || bound_[k] + m_.size[k] > low_[j]) continue;
    any = true;
    if (postponed_[k] || (m_.twin[k] >= 0 && !placed_[m_.twin[k]])) continue;
    if (low_[k] < low_[j] && (lowest < 0 || low_[k] < low_[lowest])) lowest = k;
  }
  return lowest;
}

Search::Mark Search::hash(const std::vector<Bounded>& left) const {
  Mark sum{salt_, 0};
  for (const Bounded& one : left) {
    const int j = one.buffer;
    const uint64_t state = static_cast<uint64_t>(low_[j]) << 1 | postponed_[j];
    const uint64_t mixed = mix(kind_mark_[j] ^ state);
    sum.high += mixed;
    sum.low += mix(mixed ^ 0xD6E8FEB86659FD93ull);
  }
  sum.low |= 1;  // no mark of a state is the empty mark
  return sum;
}

Outcome Search::descend(std::vector<Bounded>& left, Range time, int depth) {
  if (left.empty()) return Outcome::kFound;
  const size_t mark = trail_.size();
  Mark state;
  bool is_first = true;
  while (true) {
    if (--nodes_left_ < 0 || ((nodes_ & 63) == 0 && stop_->load(std::memory_order_relaxed))) {
      undo_to(mark);
      return Outcome::kCutShort;
    }
    ++nodes_;
    if (!may_fit(left)) break;
    if (is_first) {
      state = hash(left);
      const Mark& known = failed_[state.high & failed_mask_];
      if (known.high == state.high && known.low == state.low) break;
      is_first = false;
    }
    const int chosen = pick(left);
    if (chosen < 0 || low_[chosen] + m_.size[chosen] > capacity_) break;
    if (m_.rich && m_.fixed[chosen] < 0 && hits_fixed(chosen)) {
      postpone(chosen);
      continue;
    }
    const bool has_alternative = m_.fixed[chosen] < 0 && can_be_pushed(chosen);
    const size_t before = trail_.size();
    const bool is_late = how_.late > 0 && has_alternative && chance_(random_) < how_.late;
    if (is_late) {
      const Outcome outcome = descend_postponed(chosen, left, time, depth);
      if (outcome == Outcome::kFound) return outcome;
      undo_to(outcome == Outcome::kCutShort ? mark : before);
      if (outcome == Outcome::kCutShort) return outcome;
    }
    const Outcome outcome = place_and_descend(chosen, left, time, depth);
    if (outcome == Outcome::kFound) return outcome;
    undo_to(outcome == Outcome::kCutShort ? mark : before);
    if (outcome == Outcome::kCutShort) return outcome;
    if (!has_alternative || is_late) break;
    postpone(chosen);
  }
  undo_to(mark);
  if (!is_first) failed_[state.high & failed_mask_] = state;
  return Outcome::kRefuted;
}

Outcome Search::descend_postponed(int chosen, const std::vector<Bounded>& left, Range time, int depth) {
  postpone(chosen);
  std::vector<Bounded> same = left;
  return descend(same, time, depth);
}

Outcome Search::place_and_descend(int chosen, const std::vector<Bounded>& left, Range time, int depth) {
  bool splits = false;
  last_placed_ = chosen;
  if (!place(chosen, splits)) return Outcome::kRefuted;
  if (splits) return descend_parts(chosen, left, time, depth);
  std::vector<Bounded>& rest = frames_[depth + 1];
  rest.clear();
  for (const Bounded& one : left) {
    if (one.buffer != chosen) rest.push_back(one);
  }
  return descend(rest, time, depth + 1);
}

// What is left but `chosen` falls into parts that share no time; each is ranked afresh, and the smallest is first.
Outcome Search::descend_parts(int chosen, const std::vector<Bounded>& left, Range time, int depth) {
  std::vector<int> begins = {time.first};
  for (int s = time.first; s + 1 < time.last; ++s) {
    if (crossing_[s] == 0) begins.push_back(s + 1);
  }
  std::vector<Part> parts(begins.size());
  for (size_t p = 0; p < begins.size(); ++p) {
    parts[p].time = {begins[p], p + 1 < begins.size() ? begins[p + 1] : time.last};
  }
  for (auto [bound, j] : left) {
    if (j == chosen) continue;
    auto at = std::upper_bound(begins.begin(), begins.end(), m_.hull[j].first) - begins.begin() - 1;
    parts[at].left.push_back({bound, j});
  }
  std::erase_if(parts, [](const Part& part) { return part.left.empty(); });
  std::stable_sort(parts.begin(), parts.end(),
                   [](const Part& a, const Part& b) { return a.left.size() < b.left.size(); });
  std::vector<std::pair<int, int>> ranks;
  for (const Bounded& one : left) ranks.emplace_back(one.buffer, rank_[one.buffer]);
  Outcome outcome = Outcome::kFound;
  for (Part& part : parts) {
    rank_members(part.left);
    if (!may_fit(part.left)) outcome = Outcome::kRefuted;
    if (outcome != Outcome::kFound) break;
  }
  for (size_t p = 0; p < parts.size() && outcome == Outcome::kFound; ++p) {
    outcome = descend(parts[p].left, parts[p].time, depth + 1);
  }
  for (auto [j, rank] : ranks) rank_[j] = rank;
  return outcome;
}

}  // namespace memline::packing
