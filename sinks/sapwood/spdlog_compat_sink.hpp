// What spdlog's sinks are made of, with sapwood behind it: levels, messages, patterns, and the base
// classes of sinks. Part of spdlog_compat.hpp, which see.
#pragma once

#include <sapwood/level.hpp>
#include <sapwood/log_record.hpp>
#include <sapwood/log_write.hpp>

#include <atomic>
#include <chrono>
#include <exception>
#include <fmt/format.h>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sapwood::spdlog_compat {

using string_view_t = fmt::string_view;
using memory_buf_t = fmt::basic_memory_buffer<char, 250>;
using filename_t = std::string;
using log_clock = std::chrono::system_clock;
using err_handler = std::function<void(const std::string& message)>;

namespace level {

enum level_enum : int { trace, debug, info, warn, err, critical, off, n_levels };

[[nodiscard]] string_view_t to_string_view(level_enum value) noexcept;
[[nodiscard]] const char* to_short_c_str(level_enum value) noexcept;

/// `off` for what is no level's name.
[[nodiscard]] level_enum from_str(const std::string& name) noexcept;

} // namespace level

enum class color_mode : std::uint8_t { always, automatic, never };
enum class pattern_time_type : std::uint8_t { local, utc };

class spdlog_ex : public std::exception {
  public:
    explicit spdlog_ex(std::string message) : message_(std::move(message)) {}

    spdlog_ex(const std::string& message, int error_number);

    [[nodiscard]] const char* what() const noexcept override { return message_.c_str(); }

  private:
    std::string message_;
};

struct source_loc {
    constexpr source_loc() = default;

    constexpr source_loc(const char* file, int at, const char* function)
        : filename(file),
          line(at),
          funcname(function) {}

    [[nodiscard]] constexpr bool empty() const noexcept { return line == 0; }

    const char* filename = nullptr;
    int line = 0;
    const char* funcname = nullptr;
};

namespace details {

/// A message on its way to sinks. Borrowed for the call.
struct log_msg {
    log_msg(log_clock::time_point when, source_loc where, string_view_t from,
            level::level_enum importance, string_view_t text) noexcept;

    string_view_t logger_name;
    level::level_enum level;
    log_clock::time_point time;
    std::size_t thread_id;
    source_loc source;
    string_view_t payload;
};

struct null_mutex {
    void lock() const noexcept {}

    void unlock() const noexcept {}
};

[[nodiscard]] sapwood::level to_level(level::level_enum value) noexcept;

} // namespace details

/// How a message becomes a line. What is written by sapwood's sinks takes a pattern_formatter only.
class formatter {
  public:
    virtual ~formatter() = default;
    virtual void format(const details::log_msg& message, memory_buf_t& to) = 0;
    [[nodiscard]] virtual std::unique_ptr<formatter> clone() const = 0;
};

/// spdlog's patterns with text_layout's flags, and `%+`. Throws spdlog_ex that names a flag that it
/// does not know; those of elapsed time (`%i %u %o %O`) and custom ones are not. The message is
/// escaped: a record is one line.
class pattern_formatter final : public formatter {
  public:
    explicit pattern_formatter(std::string pattern = "%+",
                               pattern_time_type zone = pattern_time_type::local,
                               bool colour = false);
    ~pattern_formatter() override;

    void format(const details::log_msg& message, memory_buf_t& to) override;
    [[nodiscard]] std::unique_ptr<formatter> clone() const override;

    [[nodiscard]] const std::string& pattern() const noexcept { return pattern_; }

    [[nodiscard]] pattern_time_type zone() const noexcept { return zone_; }

  private:
    static constexpr std::size_t names_max = 256;

    [[nodiscard]] std::uint16_t number_of_name(std::string_view name);

    std::string pattern_;
    pattern_time_type zone_;
    bool colour_;
    std::unique_ptr<log_layout> layout_;
    log_buffer line_{512};
    /// Of loggers. A layout knows them by their numbers.
    std::vector<std::string> names_;
};

namespace sinks {

class sink {
  public:
    virtual ~sink() = default;
    virtual void log(const details::log_msg& message) = 0;
    virtual void flush() = 0;
    virtual void set_pattern(const std::string& pattern) = 0;
    virtual void set_formatter(std::unique_ptr<formatter> form) = 0;

    void set_level(level::level_enum least) noexcept { level_.store(least); }

    [[nodiscard]] level::level_enum level() const noexcept { return level_.load(); }

    [[nodiscard]] bool should_log(level::level_enum importance) const noexcept {
        return importance >= level_.load(std::memory_order_relaxed);
    }

    /// Where messages of the logger of that name may go straight, formatted in place; null where
    /// they need log(). Good for as long as the sink lives.
    [[nodiscard]] virtual const detail::log_core* core_of(std::string_view name) {
        (void)name;
        return nullptr;
    }

  protected:
    std::atomic<level::level_enum> level_{level::trace};
};

/// For sinks of the program's own: sink_it_ and flush_ are called on the thread that logs, with
/// `mutex_` held.
template <class Mutex>
class base_sink : public sink {
  public:
    base_sink() : formatter_(std::make_unique<pattern_formatter>()) {}

    explicit base_sink(std::unique_ptr<formatter> form) : formatter_(std::move(form)) {}

    base_sink(const base_sink&) = delete;
    base_sink& operator=(const base_sink&) = delete;

    void log(const details::log_msg& message) final {
        const std::lock_guard<Mutex> lock(mutex_);
        sink_it_(message);
    }

    void flush() final {
        const std::lock_guard<Mutex> lock(mutex_);
        flush_();
    }

    void set_pattern(const std::string& pattern) final {
        const std::lock_guard<Mutex> lock(mutex_);
        set_pattern_(pattern);
    }

    void set_formatter(std::unique_ptr<formatter> form) final {
        const std::lock_guard<Mutex> lock(mutex_);
        set_formatter_(std::move(form));
    }

  protected:
    virtual void sink_it_(const details::log_msg& message) = 0;
    virtual void flush_() = 0;

    virtual void set_pattern_(const std::string& pattern) {
        set_formatter_(std::make_unique<pattern_formatter>(pattern));
    }

    virtual void set_formatter_(std::unique_ptr<formatter> form) { formatter_ = std::move(form); }

    std::unique_ptr<formatter> formatter_;
    Mutex mutex_;
};

} // namespace sinks

using sink_ptr = std::shared_ptr<sinks::sink>;
using sinks_init_list = std::initializer_list<sink_ptr>;

} // namespace sapwood::spdlog_compat
