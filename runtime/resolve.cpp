#include <sapwood/fmt_library.hpp>
#include <sapwood/resolve.hpp>

#include "blocked_signals.hpp"
#include "name_lookup.hpp"

#include <atomic>
#include <cerrno>
#include <deque>
#include <exception>
#include <mutex>
#include <pthread.h>
#include <thread>
#include <utility>

namespace sapwood {

namespace {

/// A lookup, from the call to its end. Held by who awaits it and by who carries it out; whichever
/// lets go last frees it, so that the one may go away before the other.
struct lookup final : arrival {
    explicit lookup(name_query what) : query(std::move(what)) {}

    void arrive() noexcept override {
        // The thread that posted this may still be in post(), and the loop must be there for it.
        { const std::lock_guard until_posted(mutex); }
        waiting->context->loop->make_ready(*waiting);
    }

    /// What came of it, taken out of the job by who awaited it: its thread may let go of the job
    /// later, and must not be the last to hold an exception that somebody has caught.
    [[nodiscard]] std::vector<endpoint> take_answer() {
        if (error) {
            std::rethrow_exception(std::exchange(error, nullptr));
        }
        return std::move(found);
    }

    const name_query query;
    /// The thread's until it has posted the job, then those of who awaited it.
    std::vector<endpoint> found;
    std::exception_ptr error;

    std::mutex mutex;
    /// Who awaits it; null when nobody does any more. With the mutex held.
    waiter* waiting = nullptr;
    /// It has ended and is on its way to the loop. With the mutex held.
    bool is_posted = false;
};

} // namespace

/// The line and the threads. A thread ends when the line is empty, so that an idle process has none
/// and nobody has to wait for one that hangs.
class resolver::state : public std::enable_shared_from_this<resolver::state> {
  public:
    state(std::size_t lookups_max, lookup_function look_up)
        : lookups_max_(lookups_max),
          look_up_(std::move(look_up)) {}

    void submit(const std::shared_ptr<lookup>& job) {
        const std::lock_guard lock(mutex_);
        queue_.push_back(job);
        if (threads_ == lookups_max_) {
            return;
        }
        try {
            const detail::blocked_signals none;
            std::thread([self = shared_from_this()] { self->work(); }).detach();
            ++threads_;
        } catch (const std::exception&) { // no thread, or no memory for one
            if (threads_ == 0) {
                queue_.pop_back();
                throw std::system_error(
                    EAGAIN, std::generic_category(),
                    fmt::format("cannot resolve {}: no thread can be started; ulimit -u or the "
                                "cgroup's pids.max may be too low",
                                job->query.host));
            }
        }
    }

    void withdraw(const std::shared_ptr<lookup>& job) noexcept {
        const std::lock_guard lock(mutex_);
        std::erase(queue_, job); // where a thread has it, it is not there
    }

    [[nodiscard]] std::size_t running() const noexcept {
        const std::lock_guard lock(mutex_);
        return running_;
    }

  private:
    void work() noexcept {
        std::unique_lock lock(mutex_);
        while (!queue_.empty()) {
            const std::shared_ptr<lookup> job = std::move(queue_.front());
            queue_.pop_front();
            ++running_;
            lock.unlock();
            perform(*job);
            lock.lock();
            --running_;
        }
        --threads_;
    }

    void perform(lookup& job) const noexcept {
        try {
            job.found = look_up_(job.query);
            if (job.found.empty()) {
                throw std::system_error(resolve_errc::no_address,
                                        fmt::format("cannot resolve {}", job.query.host));
            }
        } catch (...) {
            job.error = std::current_exception();
        }
        const std::lock_guard lock(job.mutex);
        if (job.waiting != nullptr) {
            job.is_posted = true;
            job.waiting->context->loop->post(job);
        }
    }

    // Constant after construction.
    const std::size_t lookups_max_;
    const lookup_function look_up_;

    // Any thread, with mutex_ held.
    mutable std::mutex mutex_;
    std::deque<std::shared_ptr<lookup>> queue_;
    std::size_t threads_ = 0;
    std::size_t running_ = 0;
};

class [[nodiscard]] resolver::lookup_awaiter final : public waiter {
  public:
    lookup_awaiter(state& on, std::shared_ptr<lookup> job) noexcept
        : on_(on),
          job_(std::move(job)) {}

    [[nodiscard]] bool await_ready() const noexcept { return false; }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) {
        context = awaiting.promise().context;
        if (context->must_stop()) {
            was_cancelled_ = true;
            return false;
        }
        job_->waiting = this;
        wait_in(awaiting, where);
        try {
            on_.submit(job_);
        } catch (...) {
            context->waiting = nullptr;
            throw;
        }
        return true;
    }

    void await_resume() const {
        if (was_cancelled_) {
            (void)context->take_cancel_request();
            throw cancelled{};
        }
    }

    [[nodiscard]] std::string describe() const override {
        return fmt::format("the lookup of {}", job_->query.host);
    }

    /// Gives it up, unless its result is on the way: then that counts.
    void cancel() noexcept override {
        {
            const std::lock_guard lock(job_->mutex);
            if (job_->is_posted) {
                return;
            }
            job_->waiting = nullptr;
        }
        on_.withdraw(job_);
        was_cancelled_ = true;
        context->loop->make_ready(*this);
    }

  private:
    state& on_;
    const std::shared_ptr<lookup> job_;
    bool was_cancelled_ = false;
};

resolver::resolver(std::size_t lookups_max, lookup_function lookup) {
    SAPWOOD_ASSERT(lookups_max > 0, "a resolver needs at least one lookup at once");
    state_ = std::make_shared<state>(lookups_max, lookup ? std::move(lookup) : detail::look_up);
}

resolver::~resolver() = default;

std::size_t resolver::lookups() const noexcept {
    return state_->running();
}

task<std::vector<endpoint>> resolver::resolve(std::string host, std::string service,
                                              address_family family) {
    name_query query(std::move(host), std::move(service), family);
    if (const auto numeric = detail::numeric_endpoint(query)) {
        std::vector<endpoint> only;
        only.push_back(*numeric);
        co_return only;
    }
    const std::shared_ptr<state> on = state_;
    const auto job = std::make_shared<lookup>(std::move(query));
    co_await lookup_awaiter(*on, job);
    co_return job->take_answer();
}

namespace {

std::atomic<resolver*> common_resolver{nullptr};

} // namespace

resolver& resolver::common() {
    // Never destroyed, and forgotten in a forked child, as the common blocking_pool.
    static const int registered = ::pthread_atfork(
        nullptr, nullptr, [] { common_resolver.store(nullptr, std::memory_order_relaxed); });
    (void)registered;
    auto* known = common_resolver.load(std::memory_order_acquire);
    if (known == nullptr) {
        auto mine = std::make_unique<resolver>();
        if (common_resolver.compare_exchange_strong(known, mine.get(), std::memory_order_acq_rel)) {
            known = mine.release();
        }
    }
    return *known;
}

task<std::vector<endpoint>> resolve(std::string host, std::string service, address_family family) {
    return resolver::common().resolve(std::move(host), std::move(service), family);
}

} // namespace sapwood
