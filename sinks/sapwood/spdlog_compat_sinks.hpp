// spdlog's sinks by their names, with sapwood behind them. Each one that writes somewhere is a log
// of its own: a ring for each thread that logs and one thread that writes. The others run on the
// thread that logs, as spdlog's do. Part of spdlog_compat.hpp, which see.
#pragma once

#include <sapwood/log_sink.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/spdlog_compat_sink.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace sapwood::spdlog_compat {

class logger;
struct synchronous_factory;

/// Called around a file's life. The FILE is one for the call, and not the log's own: what is
/// written to it stands before the first line, or behind the last one. A file that rotates calls
/// them once.
struct file_event_handlers {
    std::function<void(const filename_t&)> before_open;
    std::function<void(const filename_t&, std::FILE*)> after_open;
    std::function<void(const filename_t&, std::FILE*)> before_close;
    std::function<void(const filename_t&)> after_close;
};

namespace details {

struct shared_pattern;

/// Makes its directory, and empties it where it is to be. Throws spdlog_ex.
void prepare_file(const filename_t& path, bool truncate);

/// Calls a file's handlers: the first two before the log opens it.
class handler_calls {
  public:
    handler_calls(filename_t path, bool truncate, file_event_handlers handlers);

    [[nodiscard]] const filename_t& path() const noexcept { return path_; }

    /// When the log is closed.
    void end();

  private:
    filename_t path_;
    file_event_handlers handlers_;
};

/// Makes the form of a sink's lines of the one that it has by default and that of its pattern.
using form_frame = std::function<std::unique_ptr<log_layout>(std::unique_ptr<log_layout> by_default,
                                                             std::unique_ptr<log_layout> pattern)>;

/// What a full ring means for the sinks that this thread makes while it lives.
class full_policy_scope {
  public:
    explicit full_policy_scope(log_full_policy policy) noexcept;
    full_policy_scope(const full_policy_scope&) = delete;
    full_policy_scope& operator=(const full_policy_scope&) = delete;
    ~full_policy_scope();

  private:
    log_full_policy before_;
};

} // namespace details

namespace sinks {

/// A log of sapwood's as a sink. Any thread.
class log_backed_sink : public sink {
  public:
    /// Opens it. Throws spdlog_ex.
    explicit log_backed_sink(std::unique_ptr<log_sink> to, bool colour = false,
                             const details::form_frame& frame = {});
    ~log_backed_sink() override;

    void log(const details::log_msg& message) override;
    void flush() override;

    /// What was logged before still has the old one.
    void set_pattern(const std::string& pattern) override;

    /// Throws spdlog_ex for another one than a pattern_formatter.
    void set_formatter(std::unique_ptr<formatter> form) override;

    [[nodiscard]] const detail::log_core* core_of(std::string_view name) override;

    /// The log that it writes to, for what spdlog has no name for.
    [[nodiscard]] const sapwood::logger& log_of_sink() const noexcept { return *log_; }

  protected:
    /// Ends the log: everything is written.
    void close() noexcept;

  private:
    void change_pattern(const std::string& pattern, pattern_time_type zone, custom_flags flags);

    std::shared_ptr<details::shared_pattern> pattern_;
    std::unique_ptr<sapwood::logger> log_;
    std::mutex mutex_;
    std::vector<sapwood::logger> children_;
};

/// A file, made with its directory where it is missing, appended to unless it is to be emptied.
class file_sink final : public log_backed_sink {
  public:
    explicit file_sink(const filename_t& path, bool truncate = false,
                       const file_event_handlers& handlers = {});
    ~file_sink() override;

    [[nodiscard]] const filename_t& filename() const noexcept { return calls_.path(); }

  private:
    explicit file_sink(details::handler_calls calls);

    details::handler_calls calls_;
};

/// Standard output or error; in colours on a terminal, where NO_COLOR is not set.
template <int Descriptor, bool MayHaveColour>
class standard_sink final : public log_backed_sink {
  public:
    explicit standard_sink(color_mode mode = color_mode::automatic);
};

extern template class standard_sink<1, false>;
extern template class standard_sink<1, true>;
extern template class standard_sink<2, false>;
extern template class standard_sink<2, true>;

template <class Mutex>
using basic_file_sink = file_sink;
template <class Mutex>
using stdout_sink = standard_sink<1, false>;
template <class Mutex>
using stderr_sink = standard_sink<2, false>;
template <class Mutex>
using ansicolor_stdout_sink = standard_sink<1, true>;
template <class Mutex>
using ansicolor_stderr_sink = standard_sink<2, true>;

using basic_file_sink_mt = file_sink;
using basic_file_sink_st = file_sink;
using stdout_sink_mt = standard_sink<1, false>;
using stdout_sink_st = stdout_sink_mt;
using stderr_sink_mt = standard_sink<2, false>;
using stderr_sink_st = stderr_sink_mt;
using stdout_color_sink_mt = standard_sink<1, true>;
using stdout_color_sink_st = stdout_color_sink_mt;
using stderr_color_sink_mt = standard_sink<2, true>;
using stderr_color_sink_st = stderr_color_sink_mt;
using ansicolor_stdout_sink_mt = stdout_color_sink_mt;
using ansicolor_stdout_sink_st = stdout_color_sink_mt;
using ansicolor_stderr_sink_mt = stderr_color_sink_mt;
using ansicolor_stderr_sink_st = stderr_color_sink_mt;

// --- on the thread that logs ---

template <class Mutex>
class null_sink final : public base_sink<Mutex> {
  protected:
    void sink_it_(const details::log_msg&) override {}

    void flush_() override {}
};

template <class Mutex>
class ostream_sink final : public base_sink<Mutex> {
  public:
    explicit ostream_sink(std::ostream& to, bool force_flush = false)
        : to_(to),
          force_flush_(force_flush) {}

  protected:
    void sink_it_(const details::log_msg& message) override {
        memory_buf_t line;
        this->formatter_->format(message, line);
        to_.write(line.data(), static_cast<std::streamsize>(line.size()));
        if (force_flush_) {
            to_.flush();
        }
    }

    void flush_() override { to_.flush(); }

  private:
    std::ostream& to_;
    bool force_flush_;
};

/// Keeps the newest messages.
template <class Mutex>
class ringbuffer_sink final : public base_sink<Mutex> {
  public:
    explicit ringbuffer_sink(std::size_t messages_max) : messages_max_(messages_max) {}

    /// The newest `limit`, the oldest first; 0: all that there are.
    [[nodiscard]] std::vector<details::log_msg_buffer> last_raw(std::size_t limit = 0) {
        const std::lock_guard<Mutex> lock(this->mutex_);
        return newest(limit);
    }

    /// The same as lines.
    [[nodiscard]] std::vector<std::string> last_formatted(std::size_t limit = 0) {
        const std::lock_guard<Mutex> lock(this->mutex_);
        std::vector<std::string> lines;
        for (const auto& each : newest(limit)) {
            memory_buf_t line;
            this->formatter_->format(each, line);
            lines.emplace_back(line.data(), line.size());
        }
        return lines;
    }

  protected:
    void sink_it_(const details::log_msg& message) override {
        messages_.emplace_back(message);
        if (messages_.size() > messages_max_) {
            messages_.pop_front();
        }
    }

    void flush_() override {}

  private:
    [[nodiscard]] std::vector<details::log_msg_buffer> newest(std::size_t limit) const {
        const std::size_t count = limit == 0 ? messages_.size() : std::min(limit, messages_.size());
        return {messages_.end() - static_cast<std::ptrdiff_t>(count), messages_.end()};
    }

    std::size_t messages_max_;
    std::deque<details::log_msg_buffer> messages_;
};

using custom_log_callback = std::function<void(const details::log_msg&)>;

template <class Mutex>
class callback_sink final : public base_sink<Mutex> {
  public:
    explicit callback_sink(custom_log_callback call) : call_(std::move(call)) {}

  protected:
    void sink_it_(const details::log_msg& message) override { call_(message); }

    void flush_() override {}

  private:
    custom_log_callback call_;
};

/// Several sinks as one.
template <class Mutex>
class dist_sink : public base_sink<Mutex> {
  public:
    dist_sink() = default;

    explicit dist_sink(std::vector<sink_ptr> to) : to_(std::move(to)) {}

    void add_sink(sink_ptr one) {
        const std::lock_guard<Mutex> lock(this->mutex_);
        to_.push_back(std::move(one));
    }

    void remove_sink(const sink_ptr& one) {
        const std::lock_guard<Mutex> lock(this->mutex_);
        std::erase(to_, one);
    }

    void set_sinks(std::vector<sink_ptr> to) {
        const std::lock_guard<Mutex> lock(this->mutex_);
        to_ = std::move(to);
    }

    [[nodiscard]] std::vector<sink_ptr>& sinks() noexcept { return to_; }

  protected:
    void sink_it_(const details::log_msg& message) override {
        for (const auto& each : to_) {
            if (each->should_log(message.level)) {
                each->log(message);
            }
        }
    }

    void flush_() override {
        for (const auto& each : to_) {
            each->flush();
        }
    }

    void set_pattern_(const std::string& pattern) override {
        for (const auto& each : to_) {
            each->set_pattern(pattern);
        }
    }

    void set_formatter_(std::unique_ptr<formatter> form) override {
        for (const auto& each : to_) {
            each->set_formatter(form->clone());
        }
    }

  private:
    std::vector<sink_ptr> to_;
};

/// Several sinks as one, which get a message that says what the one before it said only where that
/// was longer ago than `skipped_for`. How many were left out is told before the next other one.
template <class Mutex>
class dup_filter_sink final : public dist_sink<Mutex> {
  public:
    template <class Rep, class Period>
    explicit dup_filter_sink(std::chrono::duration<Rep, Period> skipped_for,
                             level::level_enum notice_level = level::info)
        : skipped_for_(std::chrono::duration_cast<log_clock::duration>(skipped_for)),
          notice_level_(notice_level) {}

  protected:
    void sink_it_(const details::log_msg& message) override {
        const std::string_view text(message.payload.data(), message.payload.size());
        if (text == last_text_ && message.time - last_time_ <= skipped_for_) {
            ++skipped_;
            return;
        }
        if (skipped_ > 0) {
            const std::string notice =
                fmt::format("Skipped {} duplicate messages..", std::exchange(skipped_, 0));
            dist_sink<Mutex>::sink_it_(details::log_msg(message.source, message.logger_name,
                                                        notice_level_, string_view_t(notice)));
        }
        dist_sink<Mutex>::sink_it_(message);
        last_time_ = message.time;
        last_text_ = text;
    }

  private:
    const log_clock::duration skipped_for_;
    const level::level_enum notice_level_;
    log_clock::time_point last_time_;
    std::string last_text_;
    std::size_t skipped_ = 0;
};

using null_sink_mt = null_sink<details::null_mutex>;
using null_sink_st = null_sink_mt;
using ostream_sink_mt = ostream_sink<std::mutex>;
using ostream_sink_st = ostream_sink<details::null_mutex>;
using ringbuffer_sink_mt = ringbuffer_sink<std::mutex>;
using ringbuffer_sink_st = ringbuffer_sink<details::null_mutex>;
using callback_sink_mt = callback_sink<std::mutex>;
using callback_sink_st = callback_sink<details::null_mutex>;
using dist_sink_mt = dist_sink<std::mutex>;
using dist_sink_st = dist_sink<details::null_mutex>;
using dup_filter_sink_mt = dup_filter_sink<std::mutex>;
using dup_filter_sink_st = dup_filter_sink<details::null_mutex>;

} // namespace sinks

} // namespace sapwood::spdlog_compat
