#include "schedule.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace memline::packing {

Try try_number(int k, int worker, int workers, int buffers) {
  // Moffitt's three orders.
  static const std::array<std::vector<Key>, 3> kOrders = {{
      {Key::kLife, Key::kArea, Key::kTotal},
      {Key::kTotal, Key::kArea, Key::kLife},
      {Key::kTotal, Key::kLife, Key::kArea},
  }};
  const int number = k * workers + worker;
  const int lap = number / static_cast<int>(kOrders.size());
  const double limit = 2.0 * buffers * std::pow(2.0, std::min(lap, 40));
  return {{kOrders[number % kOrders.size()], lap == 0 ? 0.0 : 0.0}, static_cast<int64_t>(limit)};
}

}  // namespace memline::packing
