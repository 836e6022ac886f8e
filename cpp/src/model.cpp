#include "model.hpp"

#include <algorithm>
#include <numeric>
#include <span>
#include <tuple>

namespace memline::packing {
namespace {

// An order of buffers by what they are, so that the rows of a file may come in any order. Ties are buffers alike.
std::vector<int> canonical_order(const Problem& problem, std::vector<int> members) {
  auto key = [&](int k) {
    const Buffer& b = problem.buffers[k];
    return std::make_tuple(b.segments.front().begin, b.segments.back().end, b.size, b.alignment, b.offset);
  };
  auto gaps_less = [&](int i, int j) {
    auto times = [](const Segment& s) { return std::make_pair(s.begin, s.end); };
    const auto &a = problem.buffers[i].segments, &b = problem.buffers[j].segments;
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(),
                                        [&](const Segment& s, const Segment& t) { return times(s) < times(t); });
  };
  std::sort(members.begin(), members.end(), [&](int i, int j) {
    auto a = key(i), b = key(j);
    if (a != b) return a < b;
    if (gaps_less(i, j)) return true;
    if (gaps_less(j, i)) return false;
    return i < j;
  });
  return members;
}

// The greatest number that divides all that offsets can be sums of.
int64_t common_unit(const Problem& problem, const std::vector<int>& members) {
  int64_t unit = 0;
  for (int k : members) {
    const Buffer& b = problem.buffers[k];
    unit = std::gcd(unit, b.size);
    if (b.alignment > 1) unit = std::gcd(unit, b.alignment);
    if (b.offset > 0) unit = std::gcd(unit, b.offset);
  }
  return std::max<int64_t>(unit, 1);
}

// Sweeps over births and deaths. A section ends with the first death after a birth.
void make_sections(const Problem& problem, Model& m) {
  struct Event {
    int64_t time;
    bool birth;  // deaths come first
    int segment;
  };
  std::vector<Event> events;
  int segments = 0;
  m.range_begin.assign(1, 0);
  for (int k : m.origin) {
    for (const Segment& s : problem.buffers[k].segments) {
      events.push_back({s.begin, true, segments});
      events.push_back({s.end, false, segments});
      ++segments;
    }
    m.range_begin.push_back(segments);
  }
  std::sort(events.begin(), events.end(), [](const Event& a, const Event& b) {
    return std::tie(a.time, a.birth, a.segment) < std::tie(b.time, b.birth, b.segment);
  });
  m.ranges.resize(segments);
  bool born = false;
  for (const Event& e : events) {
    if (e.birth) {
      m.ranges[e.segment].first = m.sections;
      born = true;
    } else {
      if (born) ++m.sections;
      born = false;
      m.ranges[e.segment].last = m.sections;
    }
  }
}

// Gaps in which nothing else begins or ends leave ranges that touch: they are one.
void merge_ranges(Model& m) {
  std::vector<Range> merged;
  std::vector<int> begin = {0};
  for (int j = 0; j < m.count; ++j) {
    for (int r = m.range_begin[j]; r < m.range_begin[j + 1]; ++r) {
      bool touches = r > m.range_begin[j] && m.ranges[r].first <= merged.back().last;
      if (touches) {
        merged.back().last = std::max(merged.back().last, m.ranges[r].last);
      } else {
        merged.push_back(m.ranges[r]);
      }
    }
    begin.push_back(static_cast<int>(merged.size()));
  }
  m.ranges = std::move(merged);
  m.range_begin = std::move(begin);
}

void find_twins(Model& m) {
  auto ranges_of = [&](int j) { return std::span(m.ranges).subspan(m.range_begin[j], m.range_begin[j + 1] - m.range_begin[j]); };
  auto numbers = [&](int j) { return std::tie(m.hull[j].first, m.hull[j].last, m.size[j], m.alignment[j], m.fixed[j]); };
  // -1, 0 or 1: what differs first.
  auto compare = [&](int i, int j) {
    if (numbers(i) != numbers(j)) return numbers(i) < numbers(j) ? -1 : 1;
    const auto a = ranges_of(i), b = ranges_of(j);
    const auto less = [](const Range& r, const Range& s) { return std::tie(r.first, r.last) < std::tie(s.first, s.last); };
    if (std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(), less)) return -1;
    return std::lexicographical_compare(b.begin(), b.end(), a.begin(), a.end(), less) ? 1 : 0;
  };
  std::vector<int> order(m.count);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int i, int j) {
    const int differs = compare(i, j);
    return differs != 0 ? differs < 0 : i < j;
  });
  m.kind.assign(m.count, 0);
  m.twin.assign(m.count, -1);
  for (int k = 0; k < m.count; ++k) {
    const int j = order[k];
    const bool is_twin = k > 0 && compare(order[k - 1], j) == 0;
    m.kind[j] = is_twin ? m.kind[order[k - 1]] : j;
    if (is_twin) m.twin[j] = order[k - 1];
  }
}

bool meet(const Model& m, int i, int j) {
  int a = m.range_begin[i], b = m.range_begin[j];
  while (a < m.range_begin[i + 1] && b < m.range_begin[j + 1]) {
    if (m.ranges[a].first < m.ranges[b].last && m.ranges[b].first < m.ranges[a].last) return true;
    (m.ranges[a].last < m.ranges[b].last ? a : b)++;
  }
  return false;
}

// Calls visit(i, j) for any two buffers whose hulls meet.
template <typename Visit>
void for_each_pair(const Model& m, Visit visit) {
  std::vector<int> order(m.count);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int i, int j) { return m.hull[i].first < m.hull[j].first; });
  for (int a = 0; a < m.count; ++a) {
    for (int b = a + 1; b < m.count && m.hull[order[b]].first < m.hull[order[a]].last; ++b) visit(order[a], order[b]);
  }
}

}  // namespace

int64_t Model::peak_load() const { return load.empty() ? 0 : *std::max_element(load.begin(), load.end()); }

Model make_model(const Problem& problem, const std::vector<int>& members) {
  Model m;
  m.count = static_cast<int>(members.size());
  m.origin = canonical_order(problem, members);
  m.unit = common_unit(problem, members);
  for (int k : m.origin) {
    const Buffer& b = problem.buffers[k];
    m.size.push_back(b.size / m.unit);
    m.alignment.push_back(b.alignment > 1 ? b.alignment / m.unit : 1);
    m.fixed.push_back(b.offset < 0 ? -1 : b.offset / m.unit);
    m.rich |= m.alignment.back() > 1 || b.offset >= 0;
    int64_t life = 0;
    for (const Segment& s : b.segments) life += s.end - s.begin;
    m.life.push_back(life);
  }
  make_sections(problem, m);
  merge_ranges(m);
  // The changes from section to section, and then their sums: among a hundred thousand buffers lives are long.
  m.load.assign(m.sections + 1, 0);
  for (int j = 0; j < m.count; ++j) {
    m.hull.push_back({m.ranges[m.range_begin[j]].first, m.ranges[m.range_begin[j + 1] - 1].last});
    for (int r = m.range_begin[j]; r < m.range_begin[j + 1]; ++r) {
      m.load[m.ranges[r].first] += m.size[j];
      m.load[m.ranges[r].last] -= m.size[j];
    }
  }
  std::partial_sum(m.load.begin(), m.load.end(), m.load.begin());
  m.load.pop_back();
  find_twins(m);
  return m;
}

int64_t count_neighbours(const Model& model) {
  // Of two buffers the one that begins later begins while the other lives: counted at every begin.
  std::vector<int64_t> begun(model.sections + 1, 0), ended(model.sections + 1, 0);
  for (const Range& hull : model.hull) {
    ++begun[hull.first];
    ++ended[hull.last];
  }
  int64_t alive = 0, pairs = 0;
  for (int s = 0; s < model.sections; ++s) {
    alive -= ended[s];
    pairs += begun[s] * alive + begun[s] * (begun[s] - 1) / 2;
    alive += begun[s];
  }
  return 2 * pairs;
}

Neighbours make_neighbours(const Model& model) {
  std::vector<std::pair<int, int>> pairs;
  for_each_pair(model, [&](int i, int j) {
    if (meet(model, i, j)) {
      pairs.emplace_back(i, j);
      pairs.emplace_back(j, i);
    }
  });
  std::sort(pairs.begin(), pairs.end());
  Neighbours found;
  found.begin.assign(model.count + 1, 0);
  for (auto [i, j] : pairs) {
    ++found.begin[i + 1];
    found.all.push_back(j);
  }
  for (int j = 0; j < model.count; ++j) found.begin[j + 1] += found.begin[j];
  return found;
}

}  // namespace memline::packing
