// write_behind: has the kernel write a file's lines to the disk while more of them come, so that
// the sync which makes them durable finds little to do; and then drop them from its page cache, so
// that a log does not take the place of what others read. Of one file, with one operation under way
// at most, which must have ended before the file is moved or closed. Loop thread only.
#pragma once

#include <sapwood/file.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/task.hpp>

#include <cstdint>
#include <system_error>

namespace sapwood::detail {

class write_behind {
  public:
    /// Of a file.
    struct range {
        std::uint64_t begin;
        std::uint64_t end;
    };

    /// Of a file that is `size` bytes long, of which nothing is dropped. Of what comes so much
    /// stays cached as `cached_bytes_max` says, and what is not written back; 0: the kernel
    /// decides.
    write_behind(std::uint64_t size, std::uint64_t cached_bytes_max) noexcept
        : cached_bytes_max_(cached_bytes_max),
          there_before_(size),
          dropped_(size) {}

    /// Of another file, of which the same is true.
    void begin_anew(std::uint64_t size) noexcept {
        begun_ = 0;
        there_before_ = size;
        dropped_ = size;
    }

    /// Up to `end` nothing is left to be written: it has been synced.
    void skip_to(std::uint64_t end) noexcept { begun_ = end; }

    /// Nobody will sync: a failure is not to be told, and stops nothing.
    void forgive() noexcept { failure_ = {}; }

    /// `of` is `size` bytes long. Begins with what has come, where that is `bytes_min` at least and
    /// nothing is under way. Where there is no memory for it, the next time.
    task<> go_on(file& of, std::uint64_t size, std::size_t bytes_min);

    /// Waits until nothing is under way. Why one of them has failed since the last call, if one
    /// has: what it was to write may be lost, and the next sync need not know. Throws `cancelled`,
    /// and can be called again.
    [[nodiscard]] task<std::error_code> end();

  private:
    [[nodiscard]] range to_drop(std::uint64_t size) const noexcept;
    task<> take_result();

    const std::uint64_t cached_bytes_max_;
    join_handle<std::error_code> running_;
    /// Up to there it was begun.
    std::uint64_t begun_ = 0;
    /// Where the one that is under way, or was last, begins.
    std::uint64_t running_from_ = 0;
    /// Up to there it is no affair of ours.
    std::uint64_t there_before_;
    /// Up to there everything was to be dropped.
    std::uint64_t dropped_;
    std::error_code failure_;
    /// The kernel, or who sandboxes us, has no such operation.
    bool is_refused_ = false;
};

} // namespace sapwood::detail
