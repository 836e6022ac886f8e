#include "rounds.hpp"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

namespace memline::packing {

std::vector<Outcome> run_round(const std::vector<Job>& jobs, bool brief, Watch& watch) {
  std::vector<Outcome> outcomes(jobs.size(), Outcome::kCutShort);
  if (brief && jobs.size() == 1) {
    const std::atomic<bool> never{false};
    outcomes[0] = jobs[0](never);
    return outcomes;
  }
  std::deque<std::atomic<bool>> stops(jobs.size());
  std::mutex mutex;
  std::condition_variable changed;
  size_t running = jobs.size();
  std::exception_ptr error;
  auto work = [&](size_t k) {
    Outcome outcome = Outcome::kCutShort;
    std::exception_ptr thrown;
    try {
      outcome = jobs[k](stops[k]);
    } catch (...) {
      thrown = std::current_exception();
    }
    const std::lock_guard lock(mutex);
    outcomes[k] = outcome;
    if (thrown) error = thrown;
    if (outcome != Outcome::kCutShort || thrown) {
      for (size_t later = k + 1; later < stops.size(); ++later) stops[later] = true;
    }
    --running;
    changed.notify_all();
  };
  std::vector<std::jthread> threads;
  for (size_t k = 0; k < jobs.size(); ++k) threads.emplace_back(work, k);
  std::unique_lock lock(mutex);
  while (running > 0) {
    const double wait = std::clamp(watch.seconds_left(), 0.0005, 0.02);
    changed.wait_for(lock, std::chrono::duration<double>(wait), [&] { return running == 0; });
    if (running == 0) break;
    lock.unlock();
    const bool expired = watch.expired();
    lock.lock();
    if (expired) {
      for (std::atomic<bool>& stop : stops) stop = true;
    }
  }
  lock.unlock();
  threads.clear();
  if (error) std::rethrow_exception(error);
  return outcomes;
}

}  // namespace memline::packing
