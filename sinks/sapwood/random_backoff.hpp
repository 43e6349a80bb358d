// How long to wait before the next attempt at what has failed, so that not all clients of a server
// that was restarted come at once: full jitter, a random time up to a bound that doubles. A value
// type for one thread.
#pragma once

#include <sapwood/clock.hpp>

#include <random>

namespace sapwood::detail {

class random_backoff {
  public:
    random_backoff(clock::duration first, clock::duration max)
        : first_(first),
          max_(max),
          random_(std::random_device()()) {}

    void succeeded() noexcept { failures_ = 0; }

    /// How long to wait before the next attempt.
    [[nodiscard]] clock::duration failed();

  private:
    clock::duration first_;
    clock::duration max_;
    unsigned failures_ = 0;
    std::minstd_rand random_;
};

} // namespace sapwood::detail
