// Searches side by side, such that what comes of them does not depend on which thread is faster.
#pragma once

#include <atomic>
#include <functional>
#include <vector>

#include "search.hpp"
#include "watch.hpp"

namespace memline::packing {

using Job = std::function<Outcome(const std::atomic<bool>& stop)>;

// Runs every job to its end, each on a thread of its own, unless the watch expires. One that comes to know the answer stops
// those after it, never those before: the first job that knows is the same in every run. `brief` jobs that are alone run on
// the calling thread.
std::vector<Outcome> run_round(const std::vector<Job>& jobs, bool brief, Watch& watch);

}  // namespace memline::packing
