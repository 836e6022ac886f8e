// The limits of a call: time, and whoever called. Asked from the calling thread only.
#pragma once

#include <chrono>
#include <cmath>
#include <ctime>

#include "memline/packing.hpp"

namespace memline::packing {

class Watch {
 public:
  explicit Watch(const Options& options)
      : options_(options), start_(Clock::now()), last_told_(start_), cpu_start_(std::clock()) {}

  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }
  double cpu_seconds() const { return static_cast<double>(std::clock() - cpu_start_) / CLOCKS_PER_SEC; }
  double seconds_left() const { return options_.time_limit_seconds - seconds(); }

  // True once the time is over or the caller wants no more. The caller is asked every 50 ms.
  bool expired() {
    if (interrupted_ || out_of_time_) return true;
    const Clock::time_point now = Clock::now();
    if (std::chrono::duration<double>(now - start_).count() >= options_.time_limit_seconds) return out_of_time_ = true;
    if (std::isfinite(options_.cpu_limit_seconds) && cpu_seconds() >= options_.cpu_limit_seconds) {
      return out_of_time_ = true;
    }
    if (now - last_told_ >= std::chrono::milliseconds(50)) tell();
    return interrupted_;
  }

  // Tells the caller how far the search has come.
  void tell() {
    last_told_ = Clock::now();
    progress.seconds = seconds();
    if (options_.interrupted && options_.interrupted(progress)) interrupted_ = true;
  }

  const char* why() const { return interrupted_ ? "interrupted" : "time limit"; }

  Progress progress;

 private:
  using Clock = std::chrono::steady_clock;

  const Options& options_;
  Clock::time_point start_;
  Clock::time_point last_told_;
  std::clock_t cpu_start_;
  bool interrupted_ = false;
  bool out_of_time_ = false;
};

}  // namespace memline::packing
