// path_lock: who of several that start at once may look whether what stands at a path is a dead
// process's, remove it, and put his own there. A file beside the path, `<path>.lock`, which only
// its owner may open: a lock on the folder anybody could hold who may read that. It is gone when
// the lock is; one that a killed process left is in nobody's way. What else bears that name, in a
// folder where others may write, is never removed, and keeps nobody from starting. Any thread.
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

    /// Another process of this user has it, which is about to have the path.
    [[nodiscard]] bool is_taken() const noexcept { return state_ == state::taken; }

    /// Whether what is dead at `of`, the path, may be replaced: who has the lock may. Where that is
    /// not to be had, for somebody else has put something under its name, this user's own is: two
    /// that start at once are rarer than who wants to keep one from starting.
    [[nodiscard]] bool may_replace(const std::string& of) const noexcept;

    /// What kept it from being held, for the end of a message: `: /run/log.lock: Permission
    /// denied`.
    [[nodiscard]] std::string why_not() const;

  private:
    enum class state : unsigned char { held, taken, foreign, failed };

    const std::string name_;
    owned_fd file_;
    state state_ = state::failed;
    int error_ = 0;
};

} // namespace sapwood::detail
