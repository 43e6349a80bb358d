// standing_operation: an operation that stays in flight while nobody awaits it, and completes again
// and again: accepting on a listener, receiving on a stream. It belongs to the descriptor that it
// works on, is made when it is first wanted, and outlives the descriptor's owner until the kernel
// has let go. What it brings waits in it for a standing_wait. Loop thread only.
#pragma once

#include <sapwood/event_loop.hpp>
#include <sapwood/owned_fd.hpp>

#include <cerrno>
#include <cstdint>
#include <memory>

namespace sapwood::detail {

class standing_wait;

class standing_operation : public operation, private loop_observer {
  public:
    virtual ~standing_operation();

    /// True where there is something for `who` at once; otherwise it will be woken.
    [[nodiscard]] bool serve(standing_wait& who, event_loop& loop);

    /// `who` waits and was cancelled.
    void forget(standing_wait& who) noexcept;

    /// The owner of the descriptor is gone: breaks off, closes the descriptor and deletes itself,
    /// now, unless the kernel does not let go at once.
    void abandon() noexcept;

    /// The descriptor is about to be closed. Who waits gets ECANCELED. Where something is in
    /// flight, breaks off, deletes itself when the kernel has let go and then tells `closing`, and
    /// returns true; otherwise deletes itself at once.
    [[nodiscard]] bool end_before(close_op& closing) noexcept;

    void complete(std::int32_t value, std::uint32_t flags) noexcept final;

  protected:
    explicit standing_operation(int fd) noexcept : fd_(fd) {}

    /// It belongs to a loop, whose ring it has not used yet.
    virtual void loop_joined() = 0;

    /// Gives `who` what is there. False where nothing is. Asked only where `may_give_` is set.
    [[nodiscard]] virtual bool give(standing_wait& who) noexcept = 0;

    /// The last completion for now: nothing is in flight any more.
    virtual void rest(std::int32_t value, std::uint32_t flags) noexcept = 0;

    /// The last completion of one that nobody wants any more: what it brought is to be dropped.
    virtual void drop(std::int32_t value, std::uint32_t flags) noexcept = 0;

    /// Starts, where it is not in flight.
    void arm() noexcept;

    /// Has the ring end it, so that the peer feels the pressure; its last completion comes.
    void break_off() noexcept;

    /// Who has waited longest, and does so no longer: to be given something, and woken. Null where
    /// nobody waits.
    [[nodiscard]] inline standing_wait* next_waiting() noexcept;

    /// Who waits goes on, first come, first served, with what `give` has for them.
    void wake_waiting() noexcept;

    /// It failed: who has waited longest is told, or who asks next.
    void failed(std::int32_t error) noexcept;

    [[nodiscard]] bool is_waited_for() const noexcept { return !waiting_.empty(); }

    [[nodiscard]] int fd() const noexcept { return fd_; }

    [[nodiscard]] event_loop& loop() const noexcept { return *loop_; }

    /// Whether there may be something to give: it spares most waits a call.
    bool may_give_ = false;

  private:
    void loop_ended() noexcept final;

    const int fd_;
    event_loop* loop_ = nullptr;
    waiter_list waiting_;
    close_op* closing_ = nullptr;
    /// What it failed with, behind what it has brought.
    std::int32_t error_ = 0;
    bool is_abandoned_ = false;
    bool loop_is_ending_ = false;
};

/// The wait for what a standing operation brings.
class standing_wait : public waiter {
  public:
    [[nodiscard]] bool await_ready() const noexcept { return false; }

    /// Throws std::bad_alloc where there is no memory for the descriptor's first.
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) {
        context = awaiting.promise().context;
        if (context->must_stop()) [[unlikely]] {
            error_ = ECANCELED;
            return false;
        }
        if (begin()) {
            return false;
        }
        wait_in(awaiting, where);
        return true;
    }

    void cancel() noexcept final;

    /// It has what it waited for.
    void wake() noexcept {
        on_.operation_ended();
        context->loop->make_ready(*this);
    }

  protected:
    explicit standing_wait(owned_fd& on) noexcept : on_(on) {}

    ~standing_wait() = default;

    /// The operation that the descriptor has none of yet.
    [[nodiscard]] virtual std::unique_ptr<standing_operation> make() const = 0;

    /// 0, or an errno. Takes a request to stop that ended the wait.
    [[nodiscard]] std::int32_t take_error() noexcept;

    /// Throws `cancelled`, or std::system_error, where the wait failed.
    void check() {
        if (error_ != 0) [[unlikely]] {
            throw_error();
        }
    }

    [[nodiscard]] int fd() const noexcept { return on_.fd(); }

  private:
    friend class standing_operation;

    [[nodiscard]] bool begin();
    [[noreturn]] void throw_error();

    owned_fd& on_;
    std::int32_t error_ = 0;
};

standing_wait* standing_operation::next_waiting() noexcept {
    return waiting_.empty() ? nullptr : static_cast<standing_wait*>(&waiting_.pop_front());
}

} // namespace sapwood::detail
