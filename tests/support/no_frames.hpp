// A thread whose coroutines get their frames from operator new, which may be told to fail.
#pragma once

#include <sapwood/frame_pool.hpp>

#include <cstddef>
#include <utility>
#include <vector>

namespace sapwood::test {

/// While it lives this thread has no frame to spare for a coroutine.
class no_frames {
  public:
    no_frames() {
        using detail::frame_pool;
        for (std::size_t each = 1; each < frame_pool::size_classes; ++each) {
            const std::size_t bytes = each * frame_pool::granularity;
            while ((detail::thread_frames.free[each]->depth & ~frame_pool::closed_bit) != 0) {
                frames_.emplace_back(detail::allocate_frame(bytes), bytes);
            }
        }
    }

    no_frames(const no_frames&) = delete;
    no_frames& operator=(const no_frames&) = delete;

    ~no_frames() {
        for (const auto& [memory, bytes] : frames_) {
            detail::free_frame(memory, bytes);
        }
    }

  private:
    std::vector<std::pair<void*, std::size_t>> frames_;
};

} // namespace sapwood::test
