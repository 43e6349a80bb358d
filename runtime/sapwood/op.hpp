// Operations: what a task asks of the kernel. `operation` is what the loop knows of one;
// op<Derived> is the awaitable, written once. A concrete operation adds its arguments, prepare(sqe)
// and how its result converts. It lives in the awaiting coroutine's frame, its address is the SQE's
// user_data, and the frame cannot end before the kernel has given the operation back. Loop thread
// only.
#pragma once

#include <sapwood/errors.hpp>
#include <sapwood/result.hpp>
#include <sapwood/waiter.hpp>

#include <cerrno>
#include <cstdint>
#include <string>

struct io_uring_sqe;

namespace sapwood {

class operation : public waiter {
  public:
    /// Who has the operation now.
    enum class phase : std::uint8_t {
        /// The coroutine: not started yet, or over and about to resume.
        idle,
        /// The loop: no SQE was free; it gets one when the ring has been entered.
        backlogged,
        /// The kernel: its buffers must stay. `cancel` has not been asked for.
        in_flight,
        /// The kernel, and the loop still has to ask it to cancel.
        cancel_backlogged,
        /// The kernel, and it has been asked to cancel.
        cancelling,
    };

    /// Fills `sqe`; user_data is the loop's. Called when an SQE is free, perhaps later than the
    /// await, and again where the kernel was interrupted before it did anything.
    virtual void prepare(io_uring_sqe& sqe) noexcept = 0;

    /// The kernel is done with the operation: `value` is its result or a negative errno, `flags`
    /// the completion's. By default the awaiting task becomes ready; an interrupted operation
    /// that nobody wants to cancel starts again.
    virtual void complete(std::int32_t value, std::uint32_t flags) noexcept;

    /// The kernel tells something of the operation, and is not done with it.
    virtual void progress(std::int32_t value, std::uint32_t flags) noexcept;

    /// Asks the kernel to stop. The wait ends with the operation's own completion, whose result
    /// counts: bytes that were moved are returned, and only an operation that did nothing throws
    /// `cancelled`.
    inline void cancel() noexcept override;

  protected:
    ~operation() {
        SAPWOOD_ASSERT(phase_ == phase::idle,
                       "an operation was destroyed while the kernel may still use it: a task must "
                       "not be destroyed while it waits, cancel and await it");
    }

    /// Hands the operation to the ring of the awaiting task's loop.
    inline void start() noexcept;

    /// Whether the loop or the kernel has it. Still so after `complete` where it started again.
    [[nodiscard]] bool is_started() const noexcept { return phase_ != phase::idle; }

    /// A completion's result with what only means "interrupted" as -EINTR.
    [[nodiscard]] static std::int32_t plain_errno(std::int32_t value) noexcept {
        // ERESTARTSYS and its kin, which the kernel keeps from system calls but not from
        // completions.
        constexpr std::int32_t restart_first = 512;
        constexpr std::int32_t restart_last = 516;
        return value <= -restart_first && value >= -restart_last ? -EINTR : value;
    }

    std::int32_t value_ = 0;

  private:
    friend class event_loop;

    /// A kernel that cannot make a worker for want of something says so, in the end.
    static constexpr std::uint8_t unasked_cancels_max = 100;

    phase phase_ = phase::idle;
    bool is_asked_to_end_ = false;
    std::uint8_t unasked_cancels_ = 0;
};

/// Derived provides `void prepare(io_uring_sqe&) noexcept override`, `T convert(std::int32_t)` for
/// results >= 0, and `std::string describe() const override`: what was tried and on what, for
/// errors.
template <class Derived, class T>
class op : public operation {
  public:
    [[nodiscard]] bool await_ready() const noexcept { return false; }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) noexcept {
        context = awaiting.promise().context;
        if (context->must_stop()) [[unlikely]] {
            value_ = -ECANCELED;
            return false;
        }
        wait_in(awaiting, where);
        start();
        return true;
    }

    /// The converted result. Throws `cancelled`, or std::system_error with what was tried.
    T await_resume() {
        if (value_ < 0) [[unlikely]] {
            if (value_ == -ECANCELED && context->take_cancel_request()) {
                throw cancelled{};
            }
            throw std::system_error(-value_, std::generic_category(), derived().describe());
        }
        return derived().convert(value_);
    }

    /// The same without throwing; see as_result.
    result<T> outcome() {
        if (value_ < 0) {
            if (value_ == -ECANCELED) {
                (void)context->take_cancel_request();
            }
            return std::error_code(-value_, std::generic_category());
        }
        if constexpr (std::is_void_v<T>) {
            derived().convert(value_);
            return {};
        } else {
            return derived().convert(value_);
        }
    }

  private:
    Derived& derived() noexcept { return static_cast<Derived&>(*this); }
};

} // namespace sapwood
