#include "worker_pool.hpp"

#include "blocked_signals.hpp"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <new>
#include <sys/eventfd.h>
#include <system_error>
#include <unistd.h>

namespace sapwood {

namespace {

/// Whoever waits for interrupted calls looks again after this long; see worker_pool::interrupt.
constexpr std::chrono::milliseconds interrupt_worker_after{1};

/// Of a worker: it has been sent the signal, and has not taken it yet.
constinit thread_local std::atomic<bool> signal_under_way{false};

void take_signal(int) {
    signal_under_way.store(false, std::memory_order_relaxed);
}

/// A real-time signal that nobody uses, with a handler that lets a system call fail with EINTR. 0
/// where all are taken: calls then cannot be broken off. It only ever goes to workers, which alone
/// have it unblocked, and so shows nowhere else in the process.
int choose_interrupt_signal() noexcept {
    for (int number = SIGRTMAX; number >= SIGRTMIN; --number) {
        struct sigaction current {};

        if (::sigaction(number, nullptr, &current) == 0 && current.sa_handler == SIG_DFL) {
            struct sigaction ours {};

            ours.sa_handler = take_signal; // and no SA_RESTART
            ::sigemptyset(&ours.sa_mask);
            ::sigaction(number, &ours, nullptr);
            return number;
        }
    }
    return 0;
}

int interrupt_signal() noexcept {
    static const int number = choose_interrupt_signal();
    return number;
}

int make_doorbell() {
    const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        throw std::system_error(
            errno, std::generic_category(),
            "cannot make the eventfd by which worker threads wake the loop; where no "
            "descriptor is free, raise the limit with `ulimit -n`");
    }
    return fd;
}

} // namespace

doorbell::doorbell() : fd_(make_doorbell()) {}

doorbell::~doorbell() {
    ::close(fd_);
}

void doorbell::ring() noexcept {
    if (wanted_.load(std::memory_order_seq_cst) &&
        wanted_.exchange(false, std::memory_order_seq_cst)) {
        const std::uint64_t one = 1;
        // It cannot fail but for a count near 2^64, which is readable anyway.
        (void)!::write(fd_, &one, sizeof(one));
    }
}

/// Real-time signals queue. A thread that gets no processor for a while would have to take every
/// one that was sent meanwhile, and with those that come while it does it might never get on.
void worker_pool::send_interrupt(job& work) noexcept {
    if (!work.signal_under_way_->exchange(true, std::memory_order_relaxed) &&
        ::pthread_kill(work.thread_, interrupt_signal()) != 0) {
        work.signal_under_way_->store(false, std::memory_order_relaxed); // no room in the queue
    }
}

worker_pool::worker_pool(options limits, doorbell& bell) noexcept : limits_(limits), bell_(bell) {}

worker_pool::~worker_pool() {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    while (!runnable_.empty()) {
        runnable_.pop_front();
    }
    runnable_count_ = 0;
    lanes_.clear();
    something_runnable_.notify_all();
    for (auto* work = running_.front(); work != nullptr; work = job_list::after(*work)) {
        work->interrupted_.store(true, std::memory_order_relaxed);
    }
    while (!running_.empty()) {
        for (auto* work = running_.front(); work != nullptr; work = job_list::after(*work)) {
            send_interrupt(*work);
        }
        something_finished_.wait_for(lock, interrupt_worker_after);
    }
    lock.unlock();
    for (auto& thread : threads_) {
        thread.join();
    }
}

std::int32_t worker_pool::submit(job& work, lane_key key, bool changes_file) noexcept {
    const std::lock_guard lock(mutex_);
    work.lane_ = key;
    work.changes_file_ = changes_file;
    work.interrupted_.store(false, std::memory_order_relaxed);
    try {
        lanes_[key].queue.push_back(work);
    } catch (const std::bad_alloc&) {
        return -ENOMEM;
    }
    work.state_ = job::state::queued;
    advance(key);
    if (!start_threads()) {
        // Not one thread: nothing has been started, so this job is the only one there is.
        if (work.state_ == job::state::runnable) {
            runnable_.remove(work);
            --runnable_count_;
            leave_lane(work);
        }
        work.state_ = job::state::idle;
        return -EAGAIN;
    }
    return 0;
}

bool worker_pool::withdraw(job& work) noexcept {
    const std::lock_guard lock(mutex_);
    switch (work.state_) {
    case job::state::queued: {
        const auto at = lanes_.find(work.lane_);
        at->second.queue.remove(work);
        work.state_ = job::state::idle;
        advance(work.lane_); // it may have stood in the way of others
        return true;
    }
    case job::state::runnable:
        runnable_.remove(work);
        --runnable_count_;
        work.state_ = job::state::idle;
        leave_lane(work);
        return true;
    case job::state::idle:
    case job::state::running:
    case job::state::finished:
        return false;
    }
    return false;
}

void worker_pool::interrupt(job& work) noexcept {
    // With the mutex held a job that runs goes on running: the signal cannot reach the thread's
    // next job, because the thread returns from this job's call before it gets the mutex.
    const std::lock_guard lock(mutex_);
    if (work.state_ == job::state::running) {
        work.interrupted_.store(true, std::memory_order_relaxed);
        send_interrupt(work);
    }
}

bool worker_pool::repeat_interrupts() noexcept {
    const std::lock_guard lock(mutex_);
    bool any = false;
    for (auto* work = running_.front(); work != nullptr; work = job_list::after(*work)) {
        if (work->interrupted_.load(std::memory_order_relaxed)) {
            send_interrupt(*work);
            any = true;
        }
    }
    return any;
}

worker_pool::job* worker_pool::next_finished() noexcept {
    const std::lock_guard lock(mutex_);
    if (finished_.empty()) {
        has_finished_.store(false, std::memory_order_seq_cst);
        return nullptr;
    }
    job& work = finished_.pop_front();
    work.state_ = job::state::idle;
    return &work;
}

/// Lets the oldest jobs of a lane go, as far as its limits allow.
void worker_pool::advance(const lane_key& key) noexcept {
    const auto at = lanes_.find(key);
    if (at == lanes_.end()) {
        return;
    }
    lane& line = at->second;
    while (!line.queue.empty() && line.running < running_max(key) &&
           !(line.queue.front()->changes_file_ && line.change_running)) {
        job& work = line.queue.pop_front();
        ++line.running;
        line.change_running = line.change_running || work.changes_file_;
        work.state_ = job::state::runnable;
        runnable_.push_back(work);
        ++runnable_count_;
        something_runnable_.notify_one();
    }
    if (line.running == 0 && line.queue.empty()) {
        lanes_.erase(at);
    }
}

void worker_pool::leave_lane(job& work) noexcept {
    const auto at = lanes_.find(work.lane_);
    if (at == lanes_.end()) {
        return; // the pool is stopping
    }
    --at->second.running;
    if (work.changes_file_) {
        at->second.change_running = false;
    }
    advance(work.lane_);
}

/// Starts a thread for every runnable job that no idle one will take. False where there is no
/// thread at all; with at least one, the jobs only take their turn.
bool worker_pool::start_threads() noexcept {
    while (runnable_count_ > idle_threads_ && threads_.size() < limits_.threads_max) {
        try {
            const detail::blocked_signals inherited(interrupt_signal());
            threads_.emplace_back([this] { work(); });
        } catch (const std::exception&) {
            break;
        }
        ++idle_threads_; // it will be; until then it counts as one that takes a job
    }
    return !threads_.empty();
}

void worker_pool::work() noexcept {
    std::unique_lock lock(mutex_);
    for (;;) {
        something_runnable_.wait(lock, [this] { return stopping_ || !runnable_.empty(); });
        if (stopping_) {
            return;
        }
        --idle_threads_;
        job& mine = runnable_.pop_front();
        --runnable_count_;
        mine.state_ = job::state::running;
        mine.thread_ = ::pthread_self();
        mine.signal_under_way_ = &signal_under_way;
        running_.push_back(mine);
        lock.unlock();

        std::int32_t value = mine.perform();
        while (value == -EINTR && !mine.interrupted_.load(std::memory_order_relaxed)) {
            value = mine.perform(); // a debugger, or a signal that was late for another job
        }

        lock.lock();
        mine.value_ = value;
        running_.remove(mine);
        mine.state_ = job::state::finished;
        finished_.push_back(mine);
        has_finished_.store(true, std::memory_order_seq_cst);
        leave_lane(mine);
        ++idle_threads_;
        (void)start_threads();
        if (stopping_) {
            something_finished_.notify_one();
        }
        bell_.ring();
    }
}

} // namespace sapwood
