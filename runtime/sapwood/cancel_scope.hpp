// A stretch of a task that can be told to stop by itself, without the task: what timeout is made
// of. Scopes of one task stand in each other. Loop thread only.
//
// A request to stop is of the task or of one of its scopes, is delivered once, and only where no
// shield was raised inside of what was asked. The `cancelled` that then travels up belongs to the
// outermost of those whose request has been delivered; a scope stops its own, and lets those of
// scopes and of the task around it pass.
#pragma once

#include <sapwood/waiter.hpp>

namespace sapwood::detail {

class cancel_scope {
  public:
    cancel_scope() = default;
    cancel_scope(const cancel_scope&) = delete;
    cancel_scope& operator=(const cancel_scope&) = delete;

    /// From now on what `task` awaits stands in this scope, the innermost.
    void enter(task_context& task) noexcept;

    /// Asks what is inside to stop. To be called once: a second request would break off its
    /// cleanup.
    void cancel() noexcept;

    /// What is inside is over. A request that was not delivered is withdrawn. `threw`: it ended
    /// with `cancelled`; then the answer is whether that was this scope's own.
    bool leave(bool threw) noexcept;

  protected:
    ~cancel_scope() {
        SAPWOOD_ASSERT(task_ == nullptr, "a task was destroyed while it waits inside a timeout");
    }

  private:
    friend struct sapwood::task_context;

    [[nodiscard]] bool is_deliverable() const noexcept {
        return pending_ && task_->shields <= shields_;
    }

    task_context* task_ = nullptr;
    cancel_scope* outer_ = nullptr;
    /// How many shields were up when it was entered: those hold off what is outside of them only.
    unsigned shields_ = 0;
    /// Asked to stop, and not told yet.
    bool pending_ = false;
    bool delivered_ = false;
    /// A request of something further out was delivered inside.
    bool outer_delivered_ = false;
};

} // namespace sapwood::detail
