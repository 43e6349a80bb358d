// A ring on which waiting for a deadline takes no time: real operations go to the kernel, but when
// nothing can happen before the deadline the clock jumps there. Reads, polls and what waits for a
// socket's peer count as waiting for somebody; every other operation ends by itself and is waited
// for before time may jump. Without a deadline it waits as the kernel's ring does. Loop thread
// only.
#pragma once

#include <sapwood/ring.hpp>

#include <memory>
#include <unordered_set>

namespace sapwood::test {

class virtual_time_ring final : public ring {
  public:
    /// On top of `real`, by default a uring_ring.
    explicit virtual_time_ring(std::unique_ptr<ring> real = {});

    void enter(clock::time_point until) override;

    [[nodiscard]] clock::time_point now() const noexcept override { return now_; }

    [[nodiscard]] bool register_buffers(io_uring_buf_ring& entries, unsigned count,
                                        std::uint16_t group) noexcept override {
        return real_->register_buffers(entries, count, group);
    }

    [[nodiscard]] std::string report() const override;

    /// Somebody computes for so long.
    void pass(clock::duration duration) noexcept { now_ += duration; }

  private:
    void enter_real(clock::time_point until);
    void note_submissions(unsigned from, unsigned to);
    void note_completions();

    const std::unique_ptr<ring> real_;
    /// Any time but the machine's, so that a mix of the two clocks shows.
    clock::time_point now_ = clock::time_point(std::chrono::hours(24));
    /// user_data of operations in flight that end by themselves.
    std::unordered_set<std::uint64_t> sure_to_end_;
    unsigned completions_seen_ = 0;
};

} // namespace sapwood::test
