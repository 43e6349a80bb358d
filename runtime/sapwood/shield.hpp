// shield: a stretch of a task in which no request to stop is delivered, because what it does must
// not be left half done. Loop thread only.
#pragma once

#include <sapwood/event_loop.hpp>

#include <limits>
#include <utility>

namespace sapwood {

/// While it lives, its task is not stopped: a request that comes stays pending, and is delivered at
/// the first wait after the last shield is gone. Lives in the coroutine that made it.
class [[nodiscard]] shield_scope {
  public:
    explicit shield_scope(task_context& task) noexcept : task_(&task) {
        SAPWOOD_ASSERT(task.shields < std::numeric_limits<decltype(task.shields)>::max(),
                       "a task holds 65535 shields: they are being leaked");
        ++task.shields;
    }

    shield_scope(shield_scope&& other) noexcept : task_(std::exchange(other.task_, nullptr)) {}

    shield_scope& operator=(shield_scope&&) = delete;

    ~shield_scope() {
        if (task_ != nullptr) {
            --task_->shields;
        }
    }

  private:
    task_context* task_;
};

namespace detail {

class [[nodiscard]] shield_awaiter {
  public:
    [[nodiscard]] bool await_ready() const noexcept { return false; }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting) noexcept {
        task_ = awaiting.promise().context;
        return false; // it was only to learn which task this is
    }

    shield_scope await_resume() const {
        if (task_->take_cancel_request()) {
            throw cancelled{};
        }
        return shield_scope(*task_);
    }

  private:
    task_context* task_ = nullptr;
};

} // namespace detail

/// `const auto shielded = co_await shield();`. Does not suspend, but a request to stop that is
/// pending already is delivered here: a loop of shielded steps can be stopped between them. Throws
/// `cancelled`.
[[nodiscard]] inline detail::shield_awaiter shield() noexcept {
    return {};
}

} // namespace sapwood
