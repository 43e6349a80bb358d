// batch_wait: a wait until a consumer has so many messages that nobody has taken, for so long at
// most: its task is woken once, and not for every message. Loop thread only.
#pragma once

#include <sapwood/list_awaiter.hpp>

#include <cstddef>
#include <string>

namespace sapwood::amqp::detail {

/// Never throws `cancelled`: who is asked to stop has messages already, and meets the request at
/// his next wait.
class batch_wait final : public waiter, private timer {
  public:
    batch_wait(waiter_list& list, std::size_t wanted, clock::duration at_most) noexcept
        : list_(list),
          wanted_(wanted),
          at_most_(at_most) {}

    [[nodiscard]] bool await_ready() const noexcept { return false; }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) {
        context = awaiting.promise().context;
        if (context->must_stop()) [[unlikely]] {
            return false;
        }
        context->loop->arm(*this, saturating_add(context->loop->now(), at_most_));
        wait_in(awaiting, where);
        list_.push_back(*this);
        return true;
    }

    void await_resume() const noexcept {}

    void cancel() noexcept override { end(); }

    [[nodiscard]] std::string describe() const override { return "more messages of a batch"; }

    /// So many are there: those of `list` who want no more have waited long enough.
    static void arrived(waiter_list& list, std::size_t messages) noexcept {
        while (!list.empty() && static_cast<batch_wait*>(list.front())->wanted_ <= messages) {
            static_cast<batch_wait*>(list.front())->end();
        }
    }

    /// No more come.
    static void end_all(waiter_list& list) noexcept {
        while (!list.empty()) {
            static_cast<batch_wait*>(list.front())->end();
        }
    }

  private:
    void fire() noexcept override { leave(); }

    void end() noexcept {
        context->loop->disarm(*this);
        leave();
    }

    void leave() noexcept {
        list_.remove(*this);
        context->loop->make_ready(*this);
    }

    waiter_list& list_;
    const std::size_t wanted_;
    const clock::duration at_most_;
};

} // namespace sapwood::amqp::detail
