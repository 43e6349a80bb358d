// What the waits on events, joins, locks and the like have in common: a place in a waiter_list,
// until whoever owns the list takes it out and wakes it. Loop thread only. Once a wait has ended,
// its awaiter does not touch the list again, which may be gone.
#pragma once

#include <sapwood/event_loop.hpp>
#include <sapwood/result.hpp>

namespace sapwood::detail {

/// Ends the wait of `node`, which is out of its list.
inline void wake(waiter& node) noexcept {
    node.context->loop->make_ready(node);
}

/// The list must not be empty.
inline void wake_first(waiter_list& list) noexcept {
    wake(list.pop_front());
}

inline void wake_all(waiter_list& list) noexcept {
    while (!list.empty()) {
        wake_first(list);
    }
}

/// Derived adds await_ready, and its own await_resume where a wait has a result. Who is cancelled
/// leaves the list; who was woken before that keeps what it was woken for, and the request stays
/// pending.
class list_awaiter : public waiter {
  public:
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) noexcept {
        context = awaiting.promise().context;
        if (context->must_stop()) [[unlikely]] {
            cancelled_ = true;
            return false;
        }
        wait_in(awaiting, where);
        list_.push_back(*this);
        return true;
    }

    void await_resume() const {
        if (!outcome()) {
            throw cancelled{};
        }
    }

    /// Without throwing; see as_result.
    result<void> outcome() const noexcept {
        if (!cancelled_) {
            return {};
        }
        (void)context->take_cancel_request();
        return make_error_code(std::errc::operation_canceled);
    }

    void cancel() noexcept override {
        leave();
        wake(*this);
    }

  protected:
    /// Out of the list, because of a request to stop.
    void leave() noexcept {
        cancelled_ = true;
        list_.remove(*this);
    }

    explicit list_awaiter(waiter_list& list) noexcept : list_(list) {}

    ~list_awaiter() = default;

  private:
    waiter_list& list_;
    bool cancelled_ = false;
};

} // namespace sapwood::detail
