// Most elements of a long row are no better than the k best before them: whole blocks are compared with the worst of
// these and passed over. What is better is put among the few best, or collected beside the many best until there are as
// many again, and then the best k of both stay: a bounded time an element at worst, a comparison in a vector for most.
#include "top_k.hpp"

#include <algorithm>
#include <condition_variable>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <type_traits>

namespace memline::kernels {
namespace {

constexpr int64_t kBlockBytes = 256;  // passed over at once
constexpr int64_t kFew = 32;  // up to so many are kept in order
constexpr int64_t kLeastElements = 1 << 14;  // what a thread takes at least: less is not worth waking it

// A key and its place in one integer: the greater comes first, and of equal keys the one with the lower place.
template <class Bits>
using Found = std::conditional_t<sizeof(Bits) == 8, __int128, int64_t>;

template <class Bits>
Found<Bits> found_at(Bits key, int64_t index) {
  return static_cast<Found<Bits>>(key) * (int64_t{1} << 32) + static_cast<uint32_t>(~index);
}

template <class Bits>
int32_t index_of(Found<Bits> found) {
  return static_cast<int32_t>(~static_cast<uint32_t>(found));
}

template <class Bits>
Bits key_in(Found<Bits> found) {
  return static_cast<Bits>(found >> 32);
}

// What the bits are xored with so that they compare as signed integers do.
template <class Bits, Kind kind>
constexpr Bits flip(Bits bits) {
  using Limits = std::numeric_limits<Bits>;
  if constexpr (kind == Kind::kSigned) return 0;
  if constexpr (kind == Kind::kUnsigned) return Limits::min();
  return bits < 0 ? Limits::max() : 0;
}

template <class Bits>
constexpr Bits with_one_nan(Bits bits) {
  static_assert(sizeof(Bits) == 2);
  constexpr Bits kInfinity = 0x7f80, kNan = 0x7fc0, kSign = std::numeric_limits<Bits>::min();
  return (bits & ~kSign) > kInfinity ? (bits & kSign) | kNan : bits;
}

template <class Bits, Kind kind>
constexpr Bits key_of(Bits bits) {
  if constexpr (kind == Kind::kBrainOfEqualNans) bits = with_one_nan(bits);
  return bits ^ flip<Bits, kind>(bits);
}

// Whether any of a block's keys is above the limit. To flip all bits as the limit's are flipped will do: elements of
// the other sign are all above a negative limit, and all below another one, either way. A NaN that is to be taken for
// another one may be found here by mistake, and is looked at again.
template <class Bits>
[[gnu::always_inline]] inline bool any_above(const Bits* block, Bits flipped, Bits limit) {
  constexpr int64_t kBlock = kBlockBytes / sizeof(Bits);
  std::make_unsigned_t<Bits> any = 0;
  for (int64_t j = 0; j < kBlock; ++j) any |= static_cast<Bits>(block[j] ^ flipped) > limit ? 1 : 0;
  return any != 0;
}

// The index of the first element at or after `from` whose block has one above the limit; at most a block before `end`.
template <class Bits>
[[gnu::always_inline]] inline int64_t passed_over(const Bits* row, int64_t from, int64_t end, Bits flipped,
                                                  Bits limit) {
  constexpr int64_t kBlock = kBlockBytes / sizeof(Bits);
  while (from + kBlock <= end && !any_above(row + from, flipped, limit)) from += kBlock;
  return from;
}

template <class Bits>
using PassOver = int64_t (*)(const Bits*, int64_t, int64_t, Bits, Bits);

template <class Bits>
int64_t pass_over(const Bits* row, int64_t from, int64_t end, Bits flipped, Bits limit) {
  return passed_over(row, from, end, flipped, limit);
}

#if defined(__x86_64__) && defined(__GNUC__)
template <class Bits>
[[gnu::target("avx2")]] int64_t pass_over_avx2(const Bits* row, int64_t from, int64_t end, Bits flipped, Bits limit) {
  return passed_over(row, from, end, flipped, limit);
}

template <class Bits>
[[gnu::target("avx512f,avx512bw,prefer-vector-width=512")]] int64_t pass_over_avx512(const Bits* row, int64_t from,
                                                                                      int64_t end, Bits flipped,
                                                                                      Bits limit) {
  return passed_over(row, from, end, flipped, limit);
}

template <class Bits>
PassOver<Bits> widest() {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")) return pass_over_avx512<Bits>;
  return __builtin_cpu_supports("avx2") ? pass_over_avx2<Bits> : pass_over<Bits>;
}
#else
template <class Bits>
PassOver<Bits> widest() {
  return pass_over<Bits>;
}
#endif

// The k best so far, in order: for small k, where to put one into its place takes less than to look for it later.
template <class Bits>
class InOrder {
 public:
  static int64_t room(int64_t k, int64_t) { return k; }

  InOrder(Found<Bits>* found, int64_t k, int64_t) : found_(found), k_(k) { finish(); }

  void add(Found<Bits> one) {
    int64_t place = k_ - 1;
    for (; place > 0 && found_[place - 1] < one; --place) found_[place] = found_[place - 1];
    found_[place] = one;
  }

  Bits limit() const { return key_in<Bits>(found_[k_ - 1]); }

  void finish() { std::sort(found_, found_ + k_, std::greater<>()); }

 private:
  Found<Bits>* const found_;
  const int64_t k_;
};

// The k best at some time, and up to k more that are better than the worst of those.
template <class Bits>
class InBatches {
 public:
  static int64_t room(int64_t k, int64_t length) { return std::min(2 * k, length); }

  InBatches(Found<Bits>* found, int64_t k, int64_t room) : found_(found), k_(k), room_(room), size_(room) { keep(); }

  void add(Found<Bits> one) {
    found_[size_++] = one;
    if (size_ == room_) keep();
  }

  Bits limit() const { return limit_; }

  void finish() {
    keep();
    std::sort(found_, found_ + k_, std::greater<>());
  }

 private:
  void keep() {
    std::nth_element(found_, found_ + (k_ - 1), found_ + size_, std::greater<>());
    size_ = k_;
    limit_ = key_in<Bits>(found_[k_ - 1]);
  }

  Found<Bits>* const found_;
  const int64_t k_, room_;
  int64_t size_;
  Bits limit_ = 0;
};

// Writes the k best of a row; `found` has the keeper's room.
template <class Bits, Kind kind, class Keeper>
void row_top_k(const Bits* row, int64_t length, int64_t k, Found<Bits>* found, PassOver<Bits> pass, Bits* values,
               int32_t* indices) {
  constexpr int64_t kBlock = kBlockBytes / sizeof(Bits);
  const auto found_in_row = [row](int64_t i) { return found_at(key_of<Bits, kind>(row[i]), i); };
  const int64_t room = Keeper::room(k, length);
  for (int64_t i = 0; i < room; ++i) found[i] = found_in_row(i);
  Keeper keeper(found, k, room);
  for (int64_t at = room; at < length;) {
    const Bits limit = keeper.limit();
    at = pass(row, at, length, flip<Bits, kind>(limit), limit);
    const int64_t end = std::min(at + kBlock, length);
    for (; at < end; ++at) {
      const Found<Bits> one = found_in_row(at);
      if (key_in<Bits>(one) > keeper.limit()) keeper.add(one);  // an equal one stands behind those that are found
    }
  }
  keeper.finish();
  for (int64_t i = 0; i < k; ++i) {
    indices[i] = index_of<Bits>(found[i]);
    values[i] = row[indices[i]];
    if constexpr (kind == Kind::kBrain || kind == Kind::kBrainOfEqualNans) values[i] = with_one_nan(values[i]);
  }
}

// The rows that nobody has taken yet, and how many takers are at work. Tasks share it, so that one which begins late
// finds it.
class Queue {
 public:
  Queue(int64_t count, int64_t share) : count_(count), share_(share) {}

  // The first of some rows to work on, or the count of all. Whoever has taken rows gives them back by `finish`.
  int64_t take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    const int64_t first = std::min(next_, count_);
    if (first < count_) ++working_;
    next_ = first + share_;
    return first;
  }

  void finish() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--working_ == 0) idle_.notify_all();
  }

  bool is_empty() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return next_ >= count_;
  }

  void clear() {
    const std::lock_guard<std::mutex> lock(mutex_);
    next_ = count_;
  }

  void wait_for_others() {
    std::unique_lock<std::mutex> lock(mutex_);
    idle_.wait(lock, [this] { return working_ == 0; });
  }

  int64_t share() const { return share_; }

 private:
  const int64_t count_, share_;
  std::mutex mutex_;
  std::condition_variable idle_;
  int64_t next_ = 0;
  int64_t working_ = 0;
};

// Works on rows until none are left. Returns false where there is no memory to begin with.
template <class Bits, Kind kind, class Keeper>
bool work(const Rows& rows, Queue& queue) {
  if (queue.is_empty()) return true;
  const std::unique_ptr<Found<Bits>[]> found(new (std::nothrow) Found<Bits>[Keeper::room(rows.k, rows.length)]);
  if (!found) return false;
  const PassOver<Bits> pass = widest<Bits>();
  for (int64_t first = queue.take(); first < rows.count; first = queue.take()) {
    const int64_t last = std::min(first + queue.share(), rows.count);
    for (int64_t r = first; r < last; ++r) {
      row_top_k<Bits, kind, Keeper>(static_cast<const Bits*>(rows.elements) + r * rows.length, rows.length, rows.k,
                                    found.get(), pass, static_cast<Bits*>(rows.values) + r * rows.k,
                                    rows.indices + r * rows.k);
    }
    queue.finish();
  }
  return true;
}

template <class Bits, Kind kind, class Keeper>
bool spread(const Rows& rows, int64_t threads, const Schedule& schedule) {
  // Four takes for each thread, so that one which begins late is not waited for long.
  const int64_t least = (kLeastElements + rows.length - 1) / rows.length;
  const int64_t share = std::max(least, (rows.count + 4 * threads - 1) / (4 * threads));
  const auto queue = std::make_shared<Queue>(rows.count, share);
  const int64_t takes = (rows.count + share - 1) / share;
  for (int64_t i = 1; i < std::min(threads, takes); ++i) {
    schedule([rows, queue] { work<Bits, kind, Keeper>(rows, *queue); });  // without memory it leaves its rows to the others
  }
  const bool worked = work<Bits, kind, Keeper>(rows, *queue);
  if (!worked) queue->clear();
  queue->wait_for_others();
  return worked;
}

template <class Bits, Kind kind>
bool spread_by_k(const Rows& rows, int64_t threads, const Schedule& schedule) {
  return rows.k <= kFew ? spread<Bits, kind, InOrder<Bits>>(rows, threads, schedule)
                        : spread<Bits, kind, InBatches<Bits>>(rows, threads, schedule);
}

template <class Bits>
bool spread_by_kind(const Rows& rows, int64_t threads, const Schedule& schedule) {
  if (rows.kind == Kind::kSigned) return spread_by_k<Bits, Kind::kSigned>(rows, threads, schedule);
  if (rows.kind == Kind::kUnsigned) return spread_by_k<Bits, Kind::kUnsigned>(rows, threads, schedule);
  if constexpr (sizeof(Bits) == 2) {
    if (rows.kind == Kind::kBrain) return spread_by_k<Bits, Kind::kBrain>(rows, threads, schedule);
    if (rows.kind == Kind::kBrainOfEqualNans) {
      return spread_by_k<Bits, Kind::kBrainOfEqualNans>(rows, threads, schedule);
    }
  }
  return spread_by_k<Bits, Kind::kFloat>(rows, threads, schedule);
}

}  // namespace

bool top_k(const Rows& rows, int64_t threads, const Schedule& schedule) {
  if (rows.count == 0 || rows.k == 0) return true;
  const int64_t at_most = std::max<int64_t>(1, threads);
  switch (rows.width) {
    case 1:
      return spread_by_kind<int8_t>(rows, at_most, schedule);
    case 2:
      return spread_by_kind<int16_t>(rows, at_most, schedule);
    case 4:
      return spread_by_kind<int32_t>(rows, at_most, schedule);
    default:
      return spread_by_kind<int64_t>(rows, at_most, schedule);
  }
}

}  // namespace memline::kernels
