#include "skyline.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <queue>

namespace memline::packing {
namespace {

// Buffers as points (first section, last section) in a k-d tree: which of those within a valley weighs most?
class Lives {
 public:
  Lives(const Model& m, const std::vector<double>& weight, const std::function<bool()>& stopped)
      : m_(m), weight_(weight), order_(m.count), stopped_(stopped) {
    std::iota(order_.begin(), order_.end(), 0);
    while (leaves_ * kLeaf < m.count) leaves_ *= 2;
    nodes_.resize(2 * leaves_);
    build(1, 0, m.count, true);
  }

  // Whether the tree is whole, and not cut short.
  bool is_whole() const { return is_whole_; }

  // The weightiest buffer within a range of sections, or -1.
  int weightiest_within(Range valley) const {
    int best = -1;
    double weight = -1;
    ask(1, valley, best, weight);
    return best;
  }

  void remove(int j) {
    int node = leaf_of_[j];
    auto [begin, end] = nodes_[node].members;
    auto at = std::find(order_.begin() + begin, order_.begin() + end, j);
    std::iter_swap(at, order_.begin() + end - 1);
    --nodes_[node].members.last;
    summarize_leaf(node);
    for (node /= 2; node > 0; node /= 2) summarize(node);
  }

 private:
  static constexpr int kLeaf = 8;
  static constexpr int kMany = 10000;  // it takes milliseconds to part so many

  struct Node {
    Range members;  // of order_, in a leaf
    int first_least = std::numeric_limits<int>::max(), first_most = -1;
    int last_least = std::numeric_limits<int>::max();
    double weight = -1;  // -1: nothing is left
  };

  void build(int node, int begin, int end, bool by_first) {
    if (end - begin > kMany && stopped_()) is_whole_ = false;
    if (!is_whole_) return;
    if (node >= leaves_) {
      nodes_[node].members = {begin, end};
      leaf_of_.resize(m_.count);
      for (int k = begin; k < end; ++k) leaf_of_[order_[k]] = node;
      summarize_leaf(node);
      return;
    }
    const int middle = begin + (end - begin) / 2;
    std::nth_element(order_.begin() + begin, order_.begin() + middle, order_.begin() + end, [&](int i, int j) {
      const int a = by_first ? m_.hull[i].first : m_.hull[i].last, b = by_first ? m_.hull[j].first : m_.hull[j].last;
      return a != b ? a < b : i < j;
    });
    build(2 * node, begin, middle, !by_first);
    build(2 * node + 1, middle, end, !by_first);
    summarize(node);
  }

  void summarize_leaf(int node) {
    Node fresh;
    fresh.members = nodes_[node].members;
    for (int k = fresh.members.first; k < fresh.members.last; ++k) {
      const int j = order_[k];
      fresh.first_least = std::min(fresh.first_least, m_.hull[j].first);
      fresh.first_most = std::max(fresh.first_most, m_.hull[j].first);
      fresh.last_least = std::min(fresh.last_least, m_.hull[j].last);
      fresh.weight = std::max(fresh.weight, weight_[j]);
    }
    nodes_[node] = fresh;
  }

  void summarize(int node) {
    const Node &a = nodes_[2 * node], &b = nodes_[2 * node + 1];
    Node& both = nodes_[node];
    both.first_least = std::min(a.first_least, b.first_least);
    both.first_most = std::max(a.first_most, b.first_most);
    both.last_least = std::min(a.last_least, b.last_least);
    both.weight = std::max(a.weight, b.weight);
  }

  void ask(int node, Range valley, int& best, double& weight) const {
    const Node& here = nodes_[node];
    if (here.weight <= weight || here.first_most < valley.first || here.last_least > valley.last) return;
    if (here.first_least >= valley.last) return;
    if (node >= leaves_) {
      for (int k = here.members.first; k < here.members.last; ++k) {
        const int j = order_[k];
        if (m_.hull[j].first < valley.first || m_.hull[j].last > valley.last || weight_[j] <= weight) continue;
        best = j;
        weight = weight_[j];
      }
      return;
    }
    const bool left_first = nodes_[2 * node].weight >= nodes_[2 * node + 1].weight;
    ask(2 * node + (left_first ? 0 : 1), valley, best, weight);
    ask(2 * node + (left_first ? 1 : 0), valley, best, weight);
  }

  const Model& m_;
  const std::vector<double>& weight_;
  std::vector<int> order_;
  std::vector<int> leaf_of_;
  std::vector<Node> nodes_;
  int leaves_ = 1;
  const std::function<bool()>& stopped_;
  bool is_whole_ = true;
};

// The skyline: runs of sections of one height, each known by its first section.
class Heights {
 public:
  explicit Heights(int sections) : run_(sections, Run{}), sections_(sections) {
    run_[0] = {sections, -1, 0, 1};
    push(0);
  }

  struct Valley {
    Range time;
    int64_t height;
  };

  // The lowest run.
  Valley lowest() {
    while (true) {
      const Entry top = queue_.top();
      const Run& run = run_[top.first];
      if (run.version == top.version) return {{top.first, run.last}, run.height};
      queue_.pop();
    }
  }

  // Sets the height of a part of the lowest run.
  void put(Range part, int64_t height) {
    const int first = lowest().time.first;
    const Run old = run_[first];
    if (first < part.first) {
      set(first, part.first, old.previous, old.height);
      set(part.first, part.last, first, height);
    } else {
      set(first, part.last, old.previous, height);
    }
    if (part.last < old.last) set(part.last, old.last, part.first, old.height);
    if (old.last < sections_) run_[old.last].previous = part.last < old.last ? part.last : part.first;
    join_right(part.first);
    if (run_[part.first].previous >= 0) join_right(run_[part.first].previous);
  }

  // Raises the lowest run, as a whole, to the lower of its sides; false if it has none.
  bool raise(Range run) {
    int64_t side = std::numeric_limits<int64_t>::max();
    if (run.last < sections_) side = run_[run.last].height;
    if (run_[run.first].previous >= 0) side = std::min(side, run_[run_[run.first].previous].height);
    if (side == std::numeric_limits<int64_t>::max()) return false;
    put(run, side);
    return true;
  }

 private:
  struct Run {
    int last = 0;
    int previous = -1;
    int64_t height = 0;
    int version = 0;  // 0: no run begins here
  };
  struct Entry {
    int64_t height;
    int first;
    int version;
    bool operator<(const Entry& other) const {  // the queue's top is its largest: the lowest, then the earliest
      return height != other.height ? height > other.height : first > other.first;
    }
  };

  void set(int first, int last, int previous, int64_t height) {
    run_[first] = {last, previous, height, ++versions_};
    push(first);
  }

  void push(int first) { queue_.push({run_[first].height, first, run_[first].version}); }

  void join_right(int first) {
    Run& run = run_[first];
    if (run.last >= sections_ || run_[run.last].height != run.height) return;
    const int next = run.last;
    const int last = run_[next].last;
    run_[next].version = 0;
    set(first, last, run.previous, run.height);
    if (last < sections_) run_[last].previous = first;
  }

  std::vector<Run> run_;
  std::priority_queue<Entry> queue_;
  int sections_;
  int versions_ = 1;
};

}  // namespace

std::vector<int64_t> skyline(const Model& model, const std::vector<double>& weight, const std::function<bool()>& stopped) {
  for (int64_t fixed : model.fixed) {
    if (fixed >= 0) return {};
  }
  std::vector<int64_t> offsets(model.count, 0);
  if (model.count == 0) return offsets;
  Lives lives(model, weight, stopped);
  if (!lives.is_whole()) return {};
  Heights heights(model.sections);
  for (int placed = 0; placed < model.count;) {
    if (placed % 64 == 0 && stopped()) return {};
    const Heights::Valley valley = heights.lowest();
    const int j = lives.weightiest_within(valley.time);
    if (j < 0) {
      if (!heights.raise(valley.time)) return {};
      continue;
    }
    offsets[j] = aligned_up(valley.height, model.alignment[j]);
    heights.put(model.hull[j], offsets[j] + model.size[j]);
    lives.remove(j);
    ++placed;
  }
  return offsets;
}

}  // namespace memline::packing
