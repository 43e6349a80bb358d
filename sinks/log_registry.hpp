// The logs of this process: what has to be done with all of them when the process is doubled
// (fork) or ends (exit, quick_exit). Any thread.
#pragma once

#include <memory>

namespace sapwood::detail {

class log_owner;
struct log_core;

class log_registry {
  public:
    /// From now on it is taken care of. Throws std::bad_alloc.
    static void add(const std::shared_ptr<log_owner>& log);

    /// A log has its first record. Called after every static logger was made that writes it, and so
    /// what is registered here with atexit runs before those are destroyed.
    static void note_first_record() noexcept;

    /// exit() was called. Loggers are not to let go of their logs any more: somebody may use them
    /// though they are destroyed.
    [[nodiscard]] static bool program_ends() noexcept;

    /// Until the very end.
    static void keep(const std::shared_ptr<log_core>& core) noexcept;
};

} // namespace sapwood::detail
