// write_behind: has the kernel write a file's lines to the disk while more of them come, so that
// the sync which makes them durable finds little to do. Of one file, with one operation under way
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
    /// Up to `end` nothing is left to be written: it has been synced.
    void skip_to(std::uint64_t end) noexcept { begun_ = end; }

    /// `of` is `size` bytes long. Begins with what has come, where that is `bytes_min` at least and
    /// nothing is under way. Where there is no memory for it, the next time.
    task<> go_on(file& of, std::uint64_t size, std::size_t bytes_min);

    /// Waits until nothing is under way. Why one of them has failed since the last call, if one
    /// has: what it was to write may be lost, and the next sync need not know. Throws `cancelled`,
    /// and can be called again.
    [[nodiscard]] task<std::error_code> end();

  private:
    task<> take_result();

    join_handle<std::error_code> running_;
    /// Up to there it was begun.
    std::uint64_t begun_ = 0;
    std::error_code failure_;
    /// The kernel, or who sandboxes us, has no such operation.
    bool is_refused_ = false;
};

} // namespace sapwood::detail
