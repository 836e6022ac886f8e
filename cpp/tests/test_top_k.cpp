// The kernel against a sort of each row, on every kind of element; and what it does with threads that come late.
#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "check.hpp"
#include "top_k.hpp"

namespace {

using memline::kernels::Kind;
using memline::kernels::Rows;
using memline::kernels::Schedule;

const Schedule kAtOnce = [](std::function<void()> task) { task(); };

// Where an element stands among others: the sign and the magnitude of a float, apart.
template <class Bits>
long double standing(Bits bits, Kind kind) {
  using Unsigned = std::make_unsigned_t<Bits>;
  if (kind == Kind::kSigned) return bits;
  if (kind == Kind::kUnsigned) return static_cast<Unsigned>(bits);
  Unsigned magnitude = static_cast<Unsigned>(bits) & std::numeric_limits<Bits>::max();
  if constexpr (sizeof(Bits) == 2) {
    if (kind == Kind::kBrainOfEqualNans && magnitude > 0x7f80) magnitude = 0x7fc0;
  }
  return bits < 0 ? -1.0L - static_cast<long double>(magnitude) : static_cast<long double>(magnitude);
}

template <class Bits>
Bits returned(Bits bits, Kind kind) {
  const bool is_brain = kind == Kind::kBrain || kind == Kind::kBrainOfEqualNans;
  if (!is_brain || (bits & 0x7fff) <= 0x7f80) return bits;
  return static_cast<Bits>(bits < 0 ? 0xffc0 : 0x7fc0);
}

template <class Bits>
struct Found {
  std::vector<Bits> values;
  std::vector<int32_t> indices;
  bool operator==(const Found&) const = default;
};

template <class Bits>
Found<Bits> sorted(const std::vector<Bits>& elements, int64_t length, int64_t k, Kind kind) {
  Found<Bits> found;
  std::vector<int32_t> places(length);
  for (size_t begin = 0; begin < elements.size(); begin += length) {
    const Bits* row = elements.data() + begin;
    std::iota(places.begin(), places.end(), 0);
    std::stable_sort(places.begin(), places.end(),
                     [&](int32_t a, int32_t b) { return standing(row[a], kind) > standing(row[b], kind); });
    for (int64_t i = 0; i < k; ++i) {
      found.values.push_back(returned(row[places[i]], kind));
      found.indices.push_back(places[i]);
    }
  }
  return found;
}

template <class Bits>
Found<Bits> selected(const std::vector<Bits>& elements, int64_t length, int64_t k, Kind kind, int64_t threads,
                     const Schedule& schedule) {
  const int64_t count = static_cast<int64_t>(elements.size()) / length;
  Found<Bits> found{std::vector<Bits>(count * k), std::vector<int32_t>(count * k)};
  Rows rows;
  rows.elements = elements.data();
  rows.count = count;
  rows.length = length;
  rows.k = k;
  rows.width = sizeof(Bits);
  rows.kind = kind;
  rows.values = found.values.data();
  rows.indices = found.indices.data();
  CHECK(memline::kernels::top_k(rows, threads, schedule));
  return found;
}

template <class Bits>
std::vector<Bits> random_bits(std::mt19937_64& random, size_t size, uint64_t different) {
  std::vector<Bits> elements(size);
  for (Bits& element : elements) {
    const uint64_t bits = random() % different * 0x9e3779b97f4a7c15;
    std::memcpy(&element, &bits, sizeof(Bits));
  }
  return elements;
}

template <class Bits>
void test_kind(Kind kind) {
  std::mt19937_64 random(sizeof(Bits));
  for (const int64_t length : {1, 2, 31, 64, 65, 700, 3001}) {
    for (const int64_t k : {int64_t{1}, int64_t{3}, int64_t{32}, int64_t{33}, length / 2 + 1, length}) {
      if (k > length) continue;
      for (const uint64_t different : {uint64_t{2}, uint64_t{50}, ~uint64_t{0}}) {
        std::vector<Bits> elements = random_bits<Bits>(random, 3 * length, different);
        CHECK(selected(elements, length, k, kind, 1, kAtOnce) == sorted(elements, length, k, kind));
        // Every element better than all before it.
        std::stable_sort(elements.begin(), elements.end(),
                         [&](Bits a, Bits b) { return standing(a, kind) < standing(b, kind); });
        CHECK(selected(elements, length, k, kind, 1, kAtOnce) == sorted(elements, length, k, kind));
      }
    }
  }
}

void test_empty() {
  const std::vector<int32_t> elements(12, 7);
  CHECK(selected(elements, 4, 0, Kind::kSigned, 2, kAtOnce).indices.empty());
  CHECK(selected(std::vector<int32_t>(), 4, 2, Kind::kSigned, 2, kAtOnce).indices.empty());
}

void test_threads() {
  std::mt19937_64 random(5);
  const std::vector<int32_t> elements = random_bits<int32_t>(random, 400 * 1000, 5000);
  for (const int64_t k : {7, 100}) {
    const Found<int32_t> expected = sorted(elements, 1000, k, Kind::kFloat);
    for (const int64_t threads : {1, 2, 7}) {
      std::vector<std::thread> pool;
      const Schedule on_thread = [&pool](std::function<void()> task) { pool.emplace_back(std::move(task)); };
      CHECK(selected(elements, 1000, k, Kind::kFloat, threads, on_thread) == expected);
      for (std::thread& thread : pool) thread.join();
      CHECK(pool.size() + 1 == static_cast<size_t>(threads));

      // A pool whose threads are all busy: the caller does everything, and what begins later finds nothing to do.
      std::vector<std::function<void()>> waiting;
      const Schedule later = [&waiting](std::function<void()> task) { waiting.push_back(std::move(task)); };
      CHECK(selected(elements, 1000, k, Kind::kFloat, threads, later) == expected);
      for (auto& task : waiting) task();
    }
  }
}

}  // namespace

int main() {
  test_kind<int8_t>(Kind::kSigned);
  test_kind<int8_t>(Kind::kUnsigned);
  for (const Kind kind : {Kind::kFloat, Kind::kSigned, Kind::kUnsigned}) {
    test_kind<int16_t>(kind);
    test_kind<int32_t>(kind);
    test_kind<int64_t>(kind);
  }
  test_kind<int16_t>(Kind::kBrain);
  test_kind<int16_t>(Kind::kBrainOfEqualNans);
  test_empty();
  test_threads();
  return 0;
}
