// logger: writes log records from any thread and any coroutine. A call formats its message straight
// into a ring of its thread's, without a lock, an allocation or a system call; one consumer, on a
// thread of the log's own or on a loop of the program's, merges the rings in order of time and
// writes whole lines in large batches.
//
//     sapwood::logger log{{.path = "app.log"}};
//     log.info("user {} did {} in {} us", id, what, us);            // checked by the compiler
//     log.warn("cache miss", sapwood::kv("key", key), sapwood::kv("age", age));
//
// A logger is a handle: copies and children write the same log, which ends, with all that was
// logged written, when the last of them is gone. Any thread may use, copy and destroy one.
#pragma once

#include <sapwood/action.hpp>
#include <sapwood/clock.hpp>
#include <sapwood/durability.hpp>
#include <sapwood/list_awaiter.hpp>
#include <sapwood/log_output.hpp>
#include <sapwood/log_write.hpp>
#include <sapwood/task.hpp>
#include <sapwood/text_layout.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace sapwood {

struct logger_options {
    /// A file to write to, in the default form. Empty: `outputs` only.
    std::string path = {};

    /// Further outputs, each with its own level, form and filter. With neither a path nor an output
    /// records go nowhere.
    std::vector<log_output_options> outputs = {};

    /// The root logger's name. Children's are behind it and a point.
    std::string name = {};

    /// Records below it are not made. SAPWOOD_LOG overrides it: `SAPWOOD_LOG=info,app.db=debug`.
    level threshold = level::info;

    /// When the file at `path` is made to survive the machine; see file_log_sink_options for what
    /// becomes of its lines.
    durability durable = durability::none();

    /// The form of the file at `path`.
    text_layout_options form = {};

    /// What the file at `path` keeps for when an error comes, and how many records it takes at
    /// most.
    log_recent recent = {};
    log_limits limits = {};

    /// For each thread that logs. A power of two from 4 KiB to 1 GiB. A record takes at most a
    /// quarter of it; what is longer is cut, and says so.
    std::size_t ring_bytes = 512u << 10;

    /// What happens when a thread's ring is full.
    log_full full = {};

    /// How long a record waits for company at most, while records come. One that comes when the log
    /// has been quiet is written at once.
    std::chrono::nanoseconds linger = std::chrono::milliseconds(1);

    /// Records carry where in the source they were made, and the task's name. On by themselves
    /// where an output's form always shows them; to be set for those that show what there is, as
    /// JSON.
    bool keep_location = false;
    bool keep_task = false;

    /// What was logged before a SIGSEGV, SIGBUS, SIGILL, SIGFPE or SIGABRT is written before the
    /// process ends by it, with a line that says so; see docs/logging.md. Handlers that were there
    /// before get the signal afterwards. Each thread that logs gets an alternate stack for signals,
    /// unless it has one.
    bool crash_handler = true;

    /// Arguments and results of calls that are logged (log_call.hpp) whose values are never shown:
    /// names such as `password`.
    std::vector<std::string> redact = {};

    /// SIGHUP does reopen(). A handler that is there when the log begins is called as well.
    bool reopen_on_hangup = false;
};

namespace detail {

class [[nodiscard]] room_awaiter final : public list_awaiter {
  public:
    room_awaiter(log_backend& backend, log_producer& producer) noexcept
        : list_awaiter(producer.room_waiters),
          backend_(backend),
          producer_(producer) {}

    [[nodiscard]] bool await_ready() const noexcept { return producer_.writer.has_room(); }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting) {
        if (!backend_.must_wait_for_room(producer_)) {
            context = awaiting.promise().context;
            return false;
        }
        return list_awaiter::await_suspend(awaiting);
    }

  private:
    log_backend& backend_;
    log_producer& producer_;
};

struct logger_access;

} // namespace detail

struct log_call_options;

class logger {
  public:
    /// A log with a thread of its own. Returns when its outputs are open; throws what kept them
    /// from it, and std::invalid_argument, naming the option.
    explicit logger(logger_options options);

    logger(const logger&) = default;
    logger& operator=(const logger&) = default;
    logger(logger&&) noexcept = default;
    logger& operator=(logger&&) noexcept = default;
    ~logger();

    /// A log whose consumer runs on this thread's loop. It ends with the loop at the latest: what
    /// is logged later is dropped. Throws what the constructor throws, and `cancelled`; nothing is
    /// left of the log then. Moves from `options`, which have to have a name: gcc 12 destroys an
    /// aggregate that is made inside a co_await expression twice.
    [[nodiscard]] static task<logger> on_this_loop(logger_options& options);

    /// A logger of the same log named `<this one's name>.<name>`. It has its parent's level until
    /// it is given its own. The same name gives the same logger. Takes a lock: keep what it gives.
    /// Throws std::bad_alloc, and std::length_error where a log has 65535 names already.
    [[nodiscard]] logger child(std::string_view name) const;

    [[nodiscard]] const std::string& name() const noexcept { return core_->name; }

    // --- logging: any thread ---

    /// Whether a record of that level is made: it is not below the logger's level, or an output
    /// keeps such records (log_recent).
    [[nodiscard]] bool enabled(level importance) const noexcept {
        return importance >= core_->threshold.load(std::memory_order_relaxed);
    }

    /// Logs `format` with `args`, of which the last ones may be kv(...); nothing of them is kept.
    /// Throws what formatting an argument throws, and std::bad_alloc where a message is long or
    /// formatted by fmt: there is no record then. An argument may log itself while it is formatted.
    /// A thread that finds its ring full waits or not as logger_options::full says, one that runs a
    /// loop never.
    template <class... Args>
    [[gnu::always_inline]] void log(level importance,
                                    detail::log_format<std::type_identity_t<Args>...> format,
                                    const Args&... args) const {
        if (enabled(importance)) {
            detail::put_call(*core_, importance, format, args...);
        }
    }

    template <class... Args>
    [[gnu::always_inline]] void trace(detail::log_format<std::type_identity_t<Args>...> format,
                                      const Args&... args) const {
        log<Args...>(level::trace, format, args...);
    }

    template <class... Args>
    [[gnu::always_inline]] void debug(detail::log_format<std::type_identity_t<Args>...> format,
                                      const Args&... args) const {
        log<Args...>(level::debug, format, args...);
    }

    template <class... Args>
    [[gnu::always_inline]] void info(detail::log_format<std::type_identity_t<Args>...> format,
                                     const Args&... args) const {
        log<Args...>(level::info, format, args...);
    }

    template <class... Args>
    [[gnu::always_inline]] void warn(detail::log_format<std::type_identity_t<Args>...> format,
                                     const Args&... args) const {
        log<Args...>(level::warning, format, args...);
    }

    template <class... Args>
    [[gnu::always_inline]] void error(detail::log_format<std::type_identity_t<Args>...> format,
                                      const Args&... args) const {
        log<Args...>(level::error, format, args...);
    }

    template <class... Args>
    [[gnu::always_inline]] void critical(detail::log_format<std::type_identity_t<Args>...> format,
                                         const Args&... args) const {
        log<Args...>(level::critical, format, args...);
    }

    /// Logs a text that is not a format, known only at run time. Throws std::bad_alloc where
    /// records carry more than their text.
    void text(level importance, std::string_view message,
              std::source_location where = std::source_location::current()) const {
        if (enabled(importance)) {
            detail::put_slowly(*core_, importance, message, {}, where);
        }
    }

    // --- actions: any thread, see action.hpp ---

    /// Begins an action where the caller is: below the action of this log that the task, or the
    /// thread, is in, else a task of its own. Its records are of level info, one that fails is an
    /// error. Throws std::bad_alloc.
    template <class... T>
    [[nodiscard]] action start_action(action_name name, const log_field<T>&... fields) const {
        return start_action(level::info, name, fields...);
    }

    template <class... T>
    [[nodiscard]] action start_action(level importance, action_name name,
                                      const log_field<T>&... fields) const {
        if (!enabled(importance)) {
            return {};
        }
        const detail::rendered_fields all(fields...);
        return begin_action(importance, name, all.view());
    }

    /// Begins an action that is a child of one elsewhere, in another process for example: `task_id`
    /// is what serialize_task_id() gave there. Where it is none, the action is a task of its own
    /// with a field `continues` that says what came.
    template <class... T>
    [[nodiscard]] action continue_task(std::string_view task_id, action_name name,
                                       const log_field<T>&... fields) const {
        if (!enabled(level::info)) {
            return {};
        }
        const detail::rendered_fields all(fields...);
        return continue_action(task_id, name, all.view());
    }

    /// Begins an action that somebody's request has caused: a task of its own, in the trace that
    /// `traceparent`, the request's header, names; its fields say so, as `trace_id` and
    /// `parent_span_id`. What is no such header is ignored, as the W3C wants it: a task in a trace
    /// of its own.
    template <class... T>
    [[nodiscard]] action continue_trace(std::string_view traceparent, action_name name,
                                        const log_field<T>&... fields) const {
        if (!enabled(level::info)) {
            return {};
        }
        const detail::rendered_fields all(fields...);
        return trace_action(traceparent, name, all.view());
    }

    /// Calls `work` with `args`, as an action: its arguments are the fields of the first record,
    /// what it returns is a field `result` of the last one. Where it makes a task, this makes one,
    /// which is the action. Defined in <sapwood/log_call.hpp>, which says more.
    template <class F, class... Args>
    decltype(auto) call(action_name name, F&& work, Args&&... args) const;
    template <class F, class... Args>
    decltype(auto) call(const log_call_options& how, F&& work, Args&&... args) const;

    /// Those of the action that the caller is in, see action; empty where it is in none.
    [[nodiscard]] std::string serialize_task_id() const;
    [[nodiscard]] std::string traceparent() const;

    // --- levels: any thread ---

    [[nodiscard]] level threshold() const noexcept {
        return core_->shown.load(std::memory_order_relaxed);
    }

    /// For this logger and those below it that have no level of their own, and those to come. Other
    /// threads see it soon. Throws std::bad_alloc.
    void set_level(level threshold) const;

    /// Has outputs that keep records too low for them (log_recent) write those now, behind what was
    /// logged before. Any thread.
    void dump_recent() const;

    // --- flushing ---

    /// Returns when everything logged before, by this thread or by one that was seen to have done
    /// it, is with the sinks: it survives this process where they are files. Throws
    /// std::system_error where one of them fails, and what is there
    /// is tried again all the same; `cancelled`, and it is written all the same. Any loop's task.
    [[nodiscard]] task<> flush() const;

    /// The same for a plain thread, which waits. On a loop it would hold up all tasks; on the one
    /// that the consumer runs on it is a programming error.
    void flush_blocking() const;

    /// Returns when everything logged before, by this thread or by one that was seen to have done
    /// it, survives the machine, in all outputs that are to be durable; those that have an interval
    /// are synced now. Many who wait share one sync. Throws std::system_error: errc::lost where
    /// records of this thread were dropped, or such an output has lost lines, since this thread
    /// was last told so, or first logged (the log says which are missing): all who wait then are
    /// told, and a wait that ends otherwise has told nobody. It is the thread that is told, not
    /// each of its tasks: one that awaits something else between its record and this call may find
    /// that another one has been told of it meanwhile. What an output fails with, and what is
    /// there is tried again all the same, but nobody knows whether it will be there; errc::closed;
    /// operation_not_supported where no output is to be durable, as in a child that was forked;
    /// `cancelled`. Any loop's task.
    [[nodiscard]] task<> durable() const;

    /// The same for a plain thread, as flush_blocking() is.
    void durable_blocking() const;

    /// `co_await log.room()` before a record: on a loop, whose thread is never held up by a full
    /// ring, this is how a task waits instead of having records dropped. Does not suspend while
    /// half of the thread's ring is free. Throws `cancelled`, and std::bad_alloc where the thread
    /// has no ring yet and gets none.
    [[nodiscard]] detail::room_awaiter room() const {
        detail::log_producer* const producer = core_->backend->producer();
        if (producer == nullptr) [[unlikely]] {
            throw std::bad_alloc();
        }
        return {*core_->backend, *producer};
    }

    // --- counts ---

    /// What the log has done so far, of all its loggers and threads, at any time, on any thread.
    /// Takes a lock that no call that logs takes, and some microseconds; see write_metrics() for a
    /// page of them. Throws std::bad_alloc.
    [[nodiscard]] log_stats stats() const;

    /// Whether all outputs take what they are given at once, and where one does not, which, and
    /// why: its last write or sync failed, or it does not answer for
    /// log_output_options::stuck_after. It is tried again by itself, and healthy when that
    /// succeeds. At any time, on any thread, as stats(). Throws std::bad_alloc.
    [[nodiscard]] log_health health() const;

    // --- files: any thread, and signal handlers ---

    /// Has the sinks open anew what somebody has renamed or removed, which they also notice
    /// themselves within a second: for the postrotate script of logrotate. It has happened when a
    /// flush() returns that comes after it.
    void reopen() const noexcept { core_->backend->requests().ask_to_reopen(); }

    /// Has the sinks that rotate their files begin new ones. As reopen().
    void rotate() const noexcept { core_->backend->requests().ask_to_rotate(); }

    // --- the end ---

    /// Ends the log for all its loggers: everything is written, the sinks are closed, and later
    /// records are dropped. Throws as flush() does; the log ends all the same. Where the log has a
    /// thread of its own the destructor does it, too, but blocks.
    [[nodiscard]] task<> close() const;

  private:
    friend struct detail::call_access;
    friend struct detail::logger_access;

    explicit logger(std::shared_ptr<detail::log_core> core) noexcept : core_(std::move(core)) {}

    [[nodiscard]] action begin_action(level importance, const action_name& name,
                                      std::string_view fields) const;
    [[nodiscard]] action continue_action(std::string_view task_id, const action_name& name,
                                         std::string_view fields) const;
    [[nodiscard]] action trace_action(std::string_view header, const action_name& name,
                                      std::string_view fields) const;

    std::shared_ptr<detail::log_core> core_;
};

} // namespace sapwood
