// run_blocking: a call that would hold up the loop (a library that waits, a long computation) on a
// thread of a bounded pool, and its result awaited: Python's run_in_executor, to_thread and
// Pool.apply_async. The calls may be made from any loop; each comes back to its own.
#pragma once

#include <sapwood/activity.hpp>
#include <sapwood/errors.hpp>
#include <sapwood/event_loop.hpp>
#include <sapwood/intrusive_list.hpp>

#include <concepts>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace sapwood {

class blocking_pool;

namespace detail {

/// What a pool runs. Lives in the frame of who awaits it, from its submission until it has arrived
/// at the loop, or was withdrawn.
class blocking_job : public waiter, private arrival {
  public:
    /// Withdraws a call that no thread has begun. One that runs cannot be broken off: it is awaited
    /// and its result counts; the request to stop is delivered at the next wait.
    void cancel() noexcept final;

    [[nodiscard]] std::string describe() const final { return "run_blocking"; }

  protected:
    explicit blocking_job(blocking_pool& on) noexcept : pool_(on) {}

    ~blocking_job() = default;

    /// On a thread of the pool. Must not throw.
    virtual void perform() noexcept = 0;

    /// Throws std::system_error where no thread can be had, which is before anything has happened.
    void submit();

    [[nodiscard]] bool was_withdrawn() const noexcept { return withdrawn_; }

    void withdraw() noexcept { withdrawn_ = true; }

  private:
    friend class sapwood::blocking_pool;

    void arrive() noexcept final;

    enum class phase : std::uint8_t {
        /// The coroutine's: not submitted, or over.
        idle,
        /// In the pool's line. Guarded by the pool's mutex, as the change to running is.
        queued,
        running,
    };

    blocking_pool& pool_;
    list_links<blocking_job> links_;
    phase phase_ = phase::idle;
    bool withdrawn_ = false;
};

template <class F>
class blocking_call;

} // namespace detail

/// Threads for calls that block. Started as they are needed, kept until the pool is destroyed.
class blocking_pool {
  public:
    /// As many as a service has slow calls at once; Python's executor has as many on a machine of
    /// 28 processors and more.
    static constexpr unsigned threads_max_default = 32;

    /// More calls than `threads_max` (at least 1) wait in line, first come first served; a line has
    /// no end, because each call in it is one task that waits.
    explicit blocking_pool(unsigned threads_max = threads_max_default);

    blocking_pool(const blocking_pool&) = delete;
    blocking_pool& operator=(const blocking_pool&) = delete;

    /// Joins the threads, but for those of a forked child's parent. No call may be in the pool any
    /// more.
    ~blocking_pool();

    /// Calls `work()` on a thread of the pool; `co_await pool.run(f)` gives what it returns or
    /// throws what it throws. `work` is kept in the awaiting frame and destroyed on the loop's
    /// thread. Throws `cancelled` where the call had not begun, and std::system_error where not
    /// even a first thread can be started.
    template <std::invocable F>
    [[nodiscard]] detail::blocking_call<F> run(F work);

    /// Threads that have been started, busy or not. Any thread.
    [[nodiscard]] unsigned threads() const noexcept;

    /// The pool of run_blocking: one for the whole process.
    [[nodiscard]] static blocking_pool& common();

  private:
    friend class detail::blocking_job;
    class state;

    void submit(detail::blocking_job& job);
    [[nodiscard]] bool withdraw(detail::blocking_job& job) noexcept;
    void wait_for_post() noexcept;

    std::unique_ptr<state> state_;
};

namespace detail {

template <class F>
class [[nodiscard]] blocking_call final : public blocking_job {
    using value_type = std::invoke_result_t<F&>;
    static constexpr bool is_void = std::is_void_v<value_type>;

  public:
    blocking_call(blocking_pool& on, F work) : blocking_job(on), work_(std::move(work)) {}

    [[nodiscard]] bool await_ready() const noexcept { return false; }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) {
        context = awaiting.promise().context;
        if (context->must_stop()) [[unlikely]] {
            withdraw();
            return false;
        }
        wait_in(awaiting, where);
        place_ = &activity_place(*context);
        try {
            submit();
        } catch (...) {
            context->waiting = nullptr;
            throw;
        }
        return true;
    }

    value_type await_resume() {
        if (was_withdrawn()) {
            (void)context->take_cancel_request();
            throw cancelled{};
        }
        if (error_) {
            std::rethrow_exception(error_);
        }
        if constexpr (std::is_reference_v<value_type>) {
            return static_cast<value_type>(**value_);
        } else if constexpr (!is_void) {
            return std::move(*value_); // NOLINT(bugprone-unchecked-optional-access): or error_ is
        }
    }

  private:
    void perform() noexcept override {
        const borrowed_activity as_the_task_is(*place_);
        try {
            if constexpr (is_void) {
                work_();
            } else if constexpr (std::is_reference_v<value_type>) {
                value_.emplace(std::addressof(work_()));
            } else {
                value_.emplace(work_());
            }
        } catch (...) {
            error_ = std::current_exception();
            as_the_task_is.failed(error_);
        }
    }

    struct nothing {};

    F work_;
    /// The task's, which waits meanwhile.
    activity* const* place_ = nullptr;
    std::exception_ptr error_;
    std::optional<
        std::conditional_t<is_void, nothing,
                           std::conditional_t<std::is_reference_v<value_type>,
                                              std::remove_reference_t<value_type>*, value_type>>>
        value_;
};

} // namespace detail

template <std::invocable F>
detail::blocking_call<F> blocking_pool::run(F work) {
    return detail::blocking_call<F>(*this, std::move(work));
}

/// The same on the process's common pool.
template <std::invocable F>
[[nodiscard]] detail::blocking_call<F> run_blocking(F work) {
    return blocking_pool::common().run(std::move(work));
}

} // namespace sapwood
