// Calls on descriptors that are made at once: no ring has an opcode for them, or nobody is there to
// await it, as in a destructor. A descriptor from simulated_fd_first on is none of the kernel's but
// of the simulation that runs on this thread. Any thread.
#pragma once

#include <sapwood/file.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace sapwood::detail {

/// No process has so many descriptors: a table of them would take 16 GiB.
inline constexpr int simulated_fd_first = 0x7f000000;

[[nodiscard]] inline bool is_simulated(int fd) noexcept {
    return fd >= simulated_fd_first;
}

/// What stands for the kernel. Each returns what the call gives, or a negative errno.
class simulated_calls {
  public:
    virtual std::int32_t close(int fd) noexcept = 0;
    virtual std::int32_t lock(int fd, int operation) noexcept = 0;
    virtual std::int32_t change_mode(int fd, std::uint32_t mode) noexcept = 0;
    virtual std::int32_t extent(int fd, file_extent& into) noexcept = 0;
    virtual std::int32_t change_flags(int fd, int clear, int set) noexcept = 0;
    virtual std::int32_t read_directory(int fd, std::span<std::byte> into) noexcept = 0;

  protected:
    ~simulated_calls() = default;
};

/// Of this thread; null where none simulates.
extern constinit thread_local simulated_calls* simulated;

/// close(2). Never again, not even after EINTR.
/// 0 or -errno, as of close(2): whatever it is but -EBADF, the descriptor is closed.
std::int32_t close_now(int fd) noexcept;

/// flock(2), and 0 or a negative errno.
[[nodiscard]] std::int32_t lock_now(int fd, int operation) noexcept;

/// fchmod(2), and 0 or a negative errno. May wait for a disk.
[[nodiscard]] std::int32_t change_mode_now(int fd, std::uint32_t mode) noexcept;

/// The size of a file as the kernel has it, and how many names, and 0 or a negative errno. Waits
/// for nobody.
[[nodiscard]] std::int32_t extent_now(int fd, file_extent& into) noexcept;

/// fcntl(2), F_GETFL and F_SETFL: clears and sets flags of what is open. 0 or a negative errno.
[[nodiscard]] std::int32_t change_flags_now(int fd, int clear, int set) noexcept;

/// getdents64(2), which may wait for a disk.
[[nodiscard]] std::int32_t read_directory_now(int fd, std::span<std::byte> into) noexcept;

} // namespace sapwood::detail
