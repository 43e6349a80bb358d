// Starting a program: what may wait for a disk, and so is for a thread of the blocking pool.
#pragma once

#include <sapwood/process.hpp>

#include <string>

namespace sapwood::detail {

/// A process that has been started, and our ends of its pipes.
struct started_process {
    started_process() = default;
    started_process(started_process&&) noexcept = default;
    started_process& operator=(started_process&&) = delete;
    ~started_process() = default;

    child running;
    owned_fd in;
    owned_fd out;
    owned_fd err;
};

/// Throws std::system_error as process::start does. Any thread: so `what` must have an environment,
/// because this process's may be changed on another thread meanwhile.
[[nodiscard]] started_process start_process(const command& what);

} // namespace sapwood::detail
