// What a measured process has used since it began to do what is measured.
#pragma once

#include <chrono>

namespace bench {

// What a writer's process has used. Started before the writer is called; a writer which has to
// prepare something that is not part of the question starts it again.
class run_meter {
  public:
    run_meter() { start(); }

    void start();

    [[nodiscard]] std::chrono::nanoseconds wall() const;

    // CPU time of this process at the start, to be subtracted from that at its end.
    [[nodiscard]] std::chrono::microseconds user_before() const { return user_; }

    [[nodiscard]] std::chrono::microseconds system_before() const { return system_; }

  private:
    std::chrono::steady_clock::time_point start_;
    std::chrono::microseconds user_{};
    std::chrono::microseconds system_{};
};

} // namespace bench
