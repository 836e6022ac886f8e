#include "pushers.hpp"

#include <algorithm>

#include "wide.hpp"

namespace memline::packing {
namespace {

// Numbers in a row are compared several at a time: that is quicker than a list of neighbours unless it is so much longer.
constexpr int kQuicker = 4;

MEMLINE_WIDE int64_t lowest_top_of(const int64_t* bounds, const int64_t* sizes, const int64_t* first, const int64_t* last,
                                   int count, Range hull, int64_t top) {
  const int64_t begin = hull.first, end = hull.last;
  int64_t lowest = Pushers::kAway;
  for (int k = 0; k < count; ++k) {
    const bool is_pusher = (first[k] < end) & (last[k] > begin) & (bounds[k] < top);
    const int64_t its_top = is_pusher ? bounds[k] + sizes[k] : Pushers::kAway;
    lowest = its_top < lowest ? its_top : lowest;
  }
  return lowest;
}

}  // namespace

Pushers::Pushers(const Model& model, const Neighbours& neighbours) : m_(model), near_(neighbours) {
  const bool has_gaps = static_cast<int>(m_.ranges.size()) != m_.count;
  for (int j = 0; j < m_.count; ++j) {
    first_.push_back(m_.hull[j].first);
    last_.push_back(m_.hull[j].last);
    const int begin = near_.begin[j], end = near_.begin[j + 1];
    Range span;
    if (!has_gaps && begin < end) span = {near_.all[begin], near_.all[end - 1] + 1};
    span_.push_back(span.last - span.first <= kQuicker * (end - begin) ? span : Range{});
  }
}

int64_t Pushers::lowest_top(int j, int64_t top, std::vector<int64_t>& bounds) const {
  const Range span = span_[j];
  if (span.first < span.last) {
    const int64_t own = bounds[j];
    bounds[j] = kAway;  // it does not push itself
    const int64_t lowest = lowest_top_of(bounds.data() + span.first, m_.size.data() + span.first, first_.data() + span.first,
                                         last_.data() + span.first, span.last - span.first, m_.hull[j], top);
    bounds[j] = own;
    return lowest;
  }
  int64_t lowest = kAway;
  for (int e = near_.begin[j]; e < near_.begin[j + 1]; ++e) {
    const int k = near_.all[e];
    if (bounds[k] < top) lowest = std::min(lowest, bounds[k] + m_.size[k]);
  }
  return lowest;
}

}  // namespace memline::packing
