// Records that another logging library has made: they keep their time, their thread and their place
// in the source. For adapters; any thread.
#pragma once

#include <sapwood/logger.hpp>

#include <chrono>
#include <cstdint>
#include <string_view>

namespace sapwood::detail {

/// Borrowed for the call. What is empty, or 0, is not known.
struct foreign_record {
    level importance = level::info;
    std::string_view message = {};
    wall_clock::time_point when = {};
    /// The kernel's number of the thread; 0: of the one that calls.
    std::uint32_t thread = 0;
    std::string_view file = {};
    int line = 0;
    std::string_view function = {};
    /// What the thread is at, in the place of a task's name.
    std::string_view task = {};
};

/// The origin, place, function and task as fields for a record. Its message is not looked at.
[[nodiscard]] std::string foreign_fields(const foreign_record& record);

/// Logs it, whatever the logger's level is: the other library has asked its own. Throws
/// std::bad_alloc.
void put_foreign(const log_core& core, const foreign_record& record);

/// What adapters need of a logger.
struct logger_access {
    [[nodiscard]] static const log_core& core(const logger& of) noexcept { return *of.core_; }

    /// flush_blocking(), but where this thread runs the loop that writes the log, which would wait
    /// for itself, it returns at once: the loop writes when the caller has returned to it.
    static void flush_unless_here(const logger& of) {
        if (running_loop == nullptr || running_loop != of.core_->backend->consumer_loop()) {
            of.flush_blocking();
        }
    }
};

} // namespace sapwood::detail
