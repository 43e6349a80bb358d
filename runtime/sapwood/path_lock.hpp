// path_lock: who of several that start at once may look whether what stands at a path is a dead
// process's, remove it, and put his own there. A file beside the path, `<path>.lock`, which only
// its owner may open: a lock on the folder anybody could hold who may read that. It is gone when
// the lock is; one that a killed process left is in nobody's way. Any thread.
#pragma once

#include <sapwood/owned_fd.hpp>

#include <string>

namespace sapwood::detail {

class path_lock {
  public:
    /// Takes it, or does not: see is_held(). Never waits. Throws std::bad_alloc.
    explicit path_lock(const std::string& path);

    path_lock(const path_lock&) = delete;
    path_lock& operator=(const path_lock&) = delete;

    ~path_lock();

    [[nodiscard]] bool is_held() const noexcept { return file_.is_open(); }

    /// Somebody else has it, who is about to have the path.
    [[nodiscard]] bool is_taken() const noexcept;

    /// What kept it from being held, for the end of a message: `: /run/log.lock: Permission
    /// denied`.
    [[nodiscard]] std::string why_not() const;

  private:
    const std::string name_;
    owned_fd file_;
    int error_ = 0;
};

} // namespace sapwood::detail
