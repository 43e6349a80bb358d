#include <sapwood/logger.hpp>

#include "alternate_stack.hpp"
#include "log_owner.hpp"
#include "log_registry.hpp"

#include <sapwood/errors.hpp>
#include <sapwood/file_log_sink.hpp>
#include <sapwood/run.hpp>

#include <algorithm>
#include <bit>
#include <csignal>
#include <cstdlib>
#include <fmt/format.h>
#include <future>
#include <pthread.h>
#include <stdexcept>
#include <system_error>

namespace sapwood {

namespace detail {

namespace {

constexpr std::size_t ring_bytes_max = std::size_t{1} << 30;

/// At the end of a program, an output that fails is given so long to close.
constexpr std::chrono::seconds failing_patience{1};

void validate(const logger_options& options) {
    const auto require = [](bool holds, const char* what) {
        if (!holds) {
            throw std::invalid_argument(fmt::format("logger_options: {}", what));
        }
    };
    require(std::has_single_bit(options.ring_bytes) && options.ring_bytes >= 4096 &&
                options.ring_bytes <= ring_bytes_max,
            "ring_bytes must be a power of two from 4096 to 2^30");
    require(options.linger.count() >= 0, "linger must not be negative");
    require(options.full.at_most.count() >= 0, "full.at_most must not be negative");
    for (const auto& each : options.outputs) {
        require(each.sink != nullptr, "an output has no sink");
        require(each.batch_bytes > 0, "an output's batch_bytes must be at least 1");
    }
}

/// The thread that writes the log takes no signals: they are for the program's own. But those of
/// its own mistakes: a fault that is blocked ends the process without a word.
class signals_blocked {
  public:
    signals_blocked() noexcept {
        sigset_t all;
        ::sigfillset(&all);
        for (const int fault : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS}) {
            ::sigdelset(&all, fault);
        }
        ::pthread_sigmask(SIG_SETMASK, &all, &before_);
    }

    signals_blocked(const signals_blocked&) = delete;
    signals_blocked& operator=(const signals_blocked&) = delete;

    ~signals_blocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  private:
    sigset_t before_{};
};

} // namespace

log_owner::log_owner(logger_options options) : name_(options.name) {
    validate(options);
    thresholds_[""] = options.threshold;
    read_environment();
    if (!options.path.empty()) {
        const file_log_sink_options named{.path = options.path, .durable = options.durable};
        log_output_options file{.sink = std::make_unique<file_log_sink>(named),
                                .form = std::make_unique<text_layout>(options.form),
                                .recent = options.recent,
                                .limits = options.limits};
        options.outputs.insert(options.outputs.begin(), std::move(file));
    }
    log_backend_options backend{
        .ring_bytes = options.ring_bytes,
        .full = options.full,
        .wants_location = options.keep_location,
        .wants_task = options.keep_task,
        .has_crash_handler = options.crash_handler,
    };
    const bool is_only_one = options.outputs.size() == 1;
    std::vector<std::unique_ptr<log_output>> outputs;
    outputs.reserve(options.outputs.size());
    for (auto& each : options.outputs) {
        outputs.push_back(std::make_unique<log_output>(std::move(each), is_only_one));
        backend.wants_location |= outputs.back()->wants_location();
        backend.wants_task |= outputs.back()->wants_task();
        backend.wants_site |= outputs.back()->wants_site();
        backend.is_durable |= outputs.back()->is_durable();
        keeps_from_ = std::min(keeps_from_, outputs.back()->keeps_from());
    }
    backend.redacted = std::move(options.redact);
    backend_ = std::make_shared<log_backend>(backend);
    if (options.reopen_on_hangup) {
        backend_->requests().reopen_on_hangup();
    }
    consumer_ =
        std::make_shared<log_consumer>(backend_, names_, std::move(outputs), options.linger);
    if (options.crash_handler) {
        consumer_->watch_for_crash();
    }
}

log_owner::~log_owner() {
    if (backend_->waits_for_start()) {
        return; // a child process that has logged nothing
    }
    backend_->close();
    join();
}

/// Whoever waits for the thread at the end of the program may look for it while it is being started
/// in a child process.
void log_owner::join() {
    std::unique_lock lock(mutex_);
    std::thread ending = std::move(thread_);
    lock.unlock();
    if (ending.joinable()) {
        ending.join();
    }
}

void log_owner::start_thread() {
    std::promise<void> opened;
    const signals_blocked blocked;
    std::thread made([&opened, consumer = consumer_] {
        ::pthread_setname_np(::pthread_self(), "sapwood-log");
        const alternate_stack stack;
        bool is_open = false;
        try {
            sapwood::run([&]() -> task<> {
                co_await consumer->open();
                is_open = true;
                opened.set_value();
                co_await log_consumer::run(consumer);
            });
        } catch (...) {
            if (is_open) {
                throw; // a mistake of sapwood's own: nothing of it may be lost in silence
            }
            opened.set_exception(std::current_exception());
        }
    });
    {
        const std::lock_guard lock(mutex_);
        thread_ = std::move(made);
    }
    try {
        opened.get_future().get();
    } catch (...) {
        join();
        throw;
    }
}

log_stats log_owner::stats() const {
    std::shared_ptr<log_consumer> own;
    {
        const std::lock_guard lock(mutex_);
        // In a child process that has logged nothing it is its parent's.
        own = is_parents_ ? nullptr : consumer_;
    }
    log_stats made = own != nullptr ? own->stats() : log_stats{};
    made.name = name_;
    return made;
}

task<> log_owner::start_here() {
    co_await consumer_->open();
    spawn_shielded(log_consumer::run(consumer_), *consumer_).detach();
}

// --- fork ---

void log_owner::lock_for_fork() {
    // In the order in which a visit of the consumer takes them, whose filter may call core(), too.
    while (true) {
        const auto visited = consumer();
        visited->lock_for_fork();
        mutex_.lock();
        if (visited == consumer_) {
            break;
        }
        mutex_.unlock(); // a child's own has begun just now
        visited->unlock_after_fork();
    }
    names_->mutex().lock();
    backend_->mutex().lock();
}

void log_owner::unlock_after_fork() {
    const auto visited = consumer_; // another one may begin when the lock is free
    backend_->mutex().unlock();
    names_->mutex().unlock();
    mutex_.unlock();
    visited->unlock_after_fork();
}

std::shared_ptr<log_consumer> log_owner::consumer() const {
    const std::lock_guard lock(mutex_);
    return consumer_;
}

void log_owner::become_childs() noexcept {
    std::construct_at(&thread_); // the parent's is not here; to detach it would be another's
    is_parents_ = true;
    backend_->become_childs([](void* me) { static_cast<log_owner*>(me)->start_in_child(); }, this);
    unlock_after_fork();
}

void log_owner::start_in_child() noexcept {
    try {
        // The parent's consumer stands where it stood; its frames, which nobody resumes, keep it.
        {
            const std::lock_guard lock(mutex_);
            consumer_ = std::make_shared<log_consumer>(backend_, names_, *consumer_);
            is_parents_ = false;
        }
        start_thread();
    } catch (const std::exception& failure) {
        fmt::print(stderr,
                   "sapwood: the log of a child process cannot go on, and what it logs is lost: "
                   "{}\n",
                   failure.what());
        backend_->finish();
    }
}

// --- exit ---

void log_owner::flush_at_exit(std::chrono::steady_clock::time_point deadline) {
    if (const auto present = consumer(); present->is_of_this_thread()) {
        present->write_rest_at_exit();
    } else if (!backend_->waits_for_start()) {
        (void)backend_->flush_until(deadline);
    }
}

void log_owner::end_at_exit(std::chrono::steady_clock::time_point deadline) {
    if (const auto present = consumer(); present->is_of_this_thread()) {
        present->write_rest_at_exit();
        return;
    }
    if (backend_->waits_for_start()) {
        return;
    }
    if (!backend_->flush_until(deadline)) {
        deadline = std::min(deadline, std::chrono::steady_clock::now() + failing_patience);
    }
    backend_->close();
    if (!backend_->wait_until_finished(deadline)) {
        fmt::print(stderr,
                   "sapwood: the program ends before its log is written to the end: an output "
                   "is stuck\n");
    } else {
        join();
    }
}

// --- names and levels ---

/// `info,app.db=debug`: levels of all loggers, and of some.
void log_owner::read_environment() {
    const char* const setting = std::getenv("SAPWOOD_LOG");
    std::string_view rest = setting != nullptr ? setting : "";
    while (!rest.empty()) {
        const std::string_view part = rest.substr(0, rest.find(','));
        rest.remove_prefix(std::min(part.size() + 1, rest.size()));
        const auto equals = part.find('=');
        const std::string_view name = equals == part.npos ? "" : part.substr(0, equals);
        const std::string_view value = equals == part.npos ? part : part.substr(equals + 1);
        if (const auto parsed = parse_level(value)) {
            thresholds_[std::string(name)] = *parsed;
        } else {
            fmt::print(stderr,
                       "sapwood: SAPWOOD_LOG: \"{}\" names no level and is ignored; trace, debug, "
                       "info, warning, error, critical and off do\n",
                       part);
        }
    }
}

/// That of the longest name that it is, or is below.
level log_owner::threshold_of(const std::string& name) const {
    std::string_view at = name;
    while (true) {
        if (const auto found = thresholds_.find(at); found != thresholds_.end()) {
            return found->second;
        }
        const auto point = at.rfind('.');
        at = point == at.npos ? std::string_view() : at.substr(0, point);
    }
}

level log_owner::made_from(level shown) const noexcept {
    return shown == level::off ? shown : std::min(shown, keeps_from_);
}

std::shared_ptr<log_core> log_owner::core(std::string name) {
    const std::lock_guard lock(mutex_);
    std::erase_if(cores_, [](const auto& each) { return each.expired(); });
    for (const auto& each : cores_) {
        if (auto known = each.lock(); known != nullptr && known->name == name) {
            return known;
        }
    }
    if (cores_.empty()) {
        backend_->lives_by(weak_from_this());
    }
    const std::uint16_t id = names_->add(name);
    const level threshold = threshold_of(name);
    auto made = std::make_shared<log_core>(shared_from_this(), backend_.get(), std::move(name), id,
                                           made_from(threshold), threshold);
    cores_.push_back(made);
    return made;
}

void log_owner::set_level(const std::string& name, level threshold) {
    const std::lock_guard lock(mutex_);
    thresholds_[name] = threshold;
    for (const auto& each : cores_) {
        if (const auto core = each.lock()) {
            const level shown = threshold_of(core->name);
            core->shown.store(shown, std::memory_order_relaxed);
            core->threshold.store(made_from(shown), std::memory_order_relaxed);
        }
    }
}

} // namespace detail

logger::logger(logger_options options) {
    const std::string name = options.name;
    const auto owner = std::make_shared<detail::log_owner>(std::move(options));
    owner->start_thread();
    detail::log_registry::add(owner);
    core_ = owner->core(name);
}

logger::~logger() {
    if (detail::log_registry::program_ends()) [[unlikely]] {
        // A static object that is destroyed later may use it, and what a shared_ptr points to it
        // does not forget when it is destroyed.
        if (core_ != nullptr) {
            detail::log_registry::keep(core_);
        }
    }
}

task<logger> logger::on_this_loop(logger_options& options) {
    const std::string name = options.name;
    const auto owner = std::make_shared<detail::log_owner>(std::move(options));
    co_await owner->start_here();
    detail::log_registry::add(owner);
    co_return logger(owner->core(name));
}

logger logger::child(std::string_view name) const {
    return logger(core_->owner->core(
        core_->name.empty() ? std::string(name) : fmt::format("{}.{}", core_->name, name)));
}

void logger::set_level(level threshold) const {
    core_->owner->set_level(core_->name, threshold);
}

namespace {

void throw_if_flush_failed(bool failed) {
    if (failed) {
        throw std::system_error(std::make_error_code(std::errc::io_error),
                                "flushing the log: an output fails; standard error says which, and "
                                "why");
    }
}

struct retiring {
    detail::loop_bell& bell;

    ~retiring() { bell.retire(); }
};

} // namespace

task<> logger::flush() const {
    const auto keep = core_; // the logger may go while this waits
    const auto bell = detail::loop_bell::make();
    const retiring retire_at_end{*bell};
    core_->backend->flush_then_ring(bell);
    co_await bell->rung().wait();
    throw_if_flush_failed(keep->backend->last_flush_failed());
}

log_stats logger::stats() const {
    return core_->owner->stats();
}

log_health logger::health() const {
    return stats().health();
}

void logger::dump_recent() const {
    core_->backend->dump_recent();
}

void logger::flush_blocking() const {
    throw_if_flush_failed(!core_->backend->flush_blocking());
}

task<> logger::durable() const {
    const auto keep = core_; // the logger may go while this waits
    auto wait = keep->backend->begin_durable();
    const auto bell = detail::loop_bell::make();
    const retiring retire_at_end{*bell};
    keep->backend->flush_then_ring(bell, wait);
    co_await bell->rung().wait();
    keep->backend->end_durable(wait);
}

void logger::durable_blocking() const {
    auto wait = core_->backend->begin_durable();
    core_->backend->flush_blocking(wait);
    core_->backend->end_durable(wait);
}

task<> logger::close() const {
    core_->backend->close();
    return flush();
}

} // namespace sapwood
