// The greatest k elements of each row of an array, with their places: what jax.lax.top_k returns, bit for bit.
//
// Elements are ordered by the integers that their bits stand for. Floats come in the total order: negative NaN,
// -infinity, ..., -0, +0, ..., +infinity, positive NaN. Of equal elements the one with the lower index comes first.
#pragma once

#include <cstdint>
#include <functional>

namespace memline::kernels {

// XLA computes with float32 in the place of bfloat16, and so returns one NaN of each sign for all NaNs of bfloat16. Up
// to jax 0.10 it also takes them for equal.
enum class Kind { kFloat, kBrain, kBrainOfEqualNans, kSigned, kUnsigned };

struct Rows {
  const void* elements = nullptr;  // count rows of length elements, one after the other
  int64_t count = 0;
  int64_t length = 0;  // below 2^31
  int64_t k = 0;       // at most length
  int width = 4;       // bytes of an element: 1, 2, 4 or 8; of a float 2, 4 or 8
  Kind kind = Kind::kFloat;
  void* values = nullptr;      // count rows of k elements
  int32_t* indices = nullptr;  // count rows of k
};

// Runs a task some time later, on this thread or another one.
using Schedule = std::function<void(std::function<void()>)>;

// Fills values and indices; rows are spread over as many threads, this one among them. Tasks that have not begun when
// the rows are done do nothing, so that it never waits for a thread of the pool to be free.
//
// Takes 2 k elements with their places for each thread beside the results. Returns false where there is no memory for
// them, and the results are then undefined.
bool top_k(const Rows& rows, int64_t threads, const Schedule& schedule);

}  // namespace memline::kernels
