#include <sapwood/run_blocking.hpp>

#include "blocked_signals.hpp"
#include "fork_generation.hpp"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <pthread.h>
#include <system_error>
#include <thread>
#include <vector>

namespace sapwood {

class blocking_pool::state {
  public:
    explicit state(unsigned threads_max) : threads_max_(threads_max) {}

    state(const state&) = delete;
    state& operator=(const state&) = delete;

    ~state() {
        {
            const std::lock_guard lock(mutex_);
            SAPWOOD_ASSERT(queue_.empty() && busy_ == 0,
                           "a blocking_pool was destroyed while calls wait or run in it");
            stopping_ = true;
        }
        something_queued_.notify_all();
        for (auto& thread : threads_) {
            thread.join();
        }
    }

    /// In a forked child the threads are not there, and whoever held the mutex never lets it go.
    [[nodiscard]] bool is_inherited() const { return generation_ != detail::current_generation(); }

    void submit(detail::blocking_job& job) {
        SAPWOOD_ASSERT(!is_inherited(), "a blocking_pool was used in a forked child, where its "
                                        "threads are not: make another there");
        const std::lock_guard lock(mutex_);
        ++queued_;
        if (queued_ + busy_ > threads_.size() && threads_.size() < threads_max_) {
            try {
                const detail::blocked_signals none;
                threads_.emplace_back([this] { work(); });
            } catch (const std::exception& refused) {
                if (threads_.empty()) {
                    --queued_;
                    throw std::system_error(
                        EAGAIN, std::generic_category(),
                        "cannot start a thread for a blocking call; ulimit -u or the cgroup's "
                        "pids.max may be too low");
                }
            }
        }
        job.phase_ = detail::blocking_job::phase::queued;
        queue_.push_back(job);
        something_queued_.notify_one();
    }

    [[nodiscard]] bool withdraw(detail::blocking_job& job) noexcept {
        const std::lock_guard lock(mutex_);
        if (job.phase_ != detail::blocking_job::phase::queued) {
            return false;
        }
        queue_.remove(job);
        --queued_;
        job.phase_ = detail::blocking_job::phase::idle;
        return true;
    }

    void wait_for_post() noexcept { const std::lock_guard lock(mutex_); }

    [[nodiscard]] unsigned threads() const noexcept {
        const std::lock_guard lock(mutex_);
        return static_cast<unsigned>(threads_.size());
    }

  private:
    void work() noexcept {
        std::unique_lock lock(mutex_);
        for (;;) {
            something_queued_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
            if (queue_.empty()) {
                return;
            }
            detail::blocking_job& job = queue_.pop_front();
            job.phase_ = detail::blocking_job::phase::running;
            --queued_;
            ++busy_;
            lock.unlock();
            job.perform();
            lock.lock();
            --busy_;
            // With the mutex held: once the job has arrived its loop may end, and the pool with it,
            // but not before wait_for_post has seen the end of this call.
            job.context->loop->post(job);
        }
    }

    const unsigned threads_max_;
    const unsigned generation_ = detail::current_generation();

    // Any thread, with mutex_ held.
    mutable std::mutex mutex_;
    std::condition_variable something_queued_;
    detail::intrusive_list<detail::blocking_job, &detail::blocking_job::links_> queue_;
    std::size_t queued_ = 0;
    std::size_t busy_ = 0;
    std::vector<std::thread> threads_;
    bool stopping_ = false;
};

blocking_pool::blocking_pool(unsigned threads_max) {
    SAPWOOD_ASSERT(threads_max > 0, "a blocking_pool needs at least one thread");
    state_ = std::make_unique<state>(threads_max);
}

blocking_pool::~blocking_pool() {
    if (state_->is_inherited()) {
        (void)state_.release(); // there is nobody to join
    }
}

unsigned blocking_pool::threads() const noexcept {
    return state_->threads();
}

void blocking_pool::submit(detail::blocking_job& job) {
    state_->submit(job);
}

bool blocking_pool::withdraw(detail::blocking_job& job) noexcept {
    return state_->withdraw(job);
}

void blocking_pool::wait_for_post() noexcept {
    state_->wait_for_post();
}

namespace {

std::atomic<blocking_pool*> common_pool{nullptr};

} // namespace

blocking_pool& blocking_pool::common() {
    // Never destroyed: a program may end while calls run, and must not wait for them. In a forked
    // child its threads are not there: the child begins with another.
    static const int registered = ::pthread_atfork(
        nullptr, nullptr, [] { common_pool.store(nullptr, std::memory_order_relaxed); });
    (void)registered;
    auto* pool = common_pool.load(std::memory_order_acquire);
    if (pool == nullptr) {
        auto mine = std::make_unique<blocking_pool>();
        if (common_pool.compare_exchange_strong(pool, mine.get(), std::memory_order_acq_rel)) {
            pool = mine.release();
        }
    }
    return *pool;
}

namespace detail {

void blocking_job::submit() {
    pool_.submit(*this);
}

void blocking_job::arrive() noexcept {
    pool_.wait_for_post();
    context->loop->make_ready(*this);
}

void blocking_job::cancel() noexcept {
    if (pool_.withdraw(*this)) {
        withdrawn_ = true;
        context->loop->make_ready(*this);
    }
}

} // namespace detail

} // namespace sapwood
