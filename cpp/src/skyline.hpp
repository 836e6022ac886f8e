// A packing of many buffers in O(n log n) or so: the lowest place first, and there the one that weighs most.
//
// The tops of what is placed make a skyline over time. Its lowest valley is filled with the weightiest buffer whose life
// is within it, and raised to its lower side where there is none (Burke et al. 2004 do so for strips).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "model.hpp"

namespace memline::packing {

// Offsets of the model's buffers, in its units; empty if `stopped` said so, or if buffers are fixed, which this leaves to others.
// Buffers with gaps are taken to live through them. What a buffer weighs, such as for how long it lives, is given.
std::vector<int64_t> skyline(const Model& model, const std::vector<double>& weight, const std::function<bool()>& stopped);

}  // namespace memline::packing
