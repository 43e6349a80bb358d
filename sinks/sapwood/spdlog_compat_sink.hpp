// What spdlog's sinks are made of, with sapwood behind it: levels, messages, patterns, and the base
// classes of sinks. Part of spdlog_compat.hpp, which see.
#pragma once

#include <sapwood/level.hpp>
#include <sapwood/log_record.hpp>
#include <sapwood/log_write.hpp>

#include <atomic>
#include <chrono>
#include <ctime>
#include <exception>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <sapwood/fmt_library.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sapwood::spdlog_compat {

namespace fmt_lib = fmt;

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

/// What is thrown on constructing sinks and loggers only; see set_error_handler.
[[noreturn]] void throw_spdlog_ex(const std::string& message, int error_number);
[[noreturn]] void throw_spdlog_ex(std::string message);

/// What a thread is at, key by key: `%&` in a pattern, `%+` where there is any. Each thread has its
/// own.
class mdc {
  public:
    static void put(const std::string& key, const std::string& value) {
        get_context()[key] = value;
    }

    [[nodiscard]] static std::string get(const std::string& key);

    static void remove(const std::string& key) { get_context().erase(key); }

    static void clear() { get_context().clear(); }

    static std::map<std::string, std::string>& get_context();
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
    log_msg() = default;
    log_msg(log_clock::time_point when, source_loc where, string_view_t from,
            level::level_enum importance, string_view_t text) noexcept;

    log_msg(source_loc where, string_view_t from, level::level_enum importance,
            string_view_t text) noexcept
        : log_msg({}, where, from, importance, text) {}

    log_msg(string_view_t from, level::level_enum importance, string_view_t text) noexcept
        : log_msg({}, {}, from, importance, text) {}

    string_view_t logger_name;
    level::level_enum level = level::off;
    log_clock::time_point time;
    std::size_t thread_id = 0;
    /// Of the level's colour in the line: not known here.
    mutable std::size_t color_range_start = 0;
    mutable std::size_t color_range_end = 0;
    source_loc source;
    string_view_t payload;
};

/// A message that is kept.
class log_msg_buffer : public log_msg {
  public:
    log_msg_buffer() = default;
    explicit log_msg_buffer(const log_msg& message);

    log_msg_buffer(const log_msg_buffer& other)
        : log_msg_buffer(static_cast<const log_msg&>(other)) {}

    log_msg_buffer& operator=(const log_msg_buffer& other);

  private:
    void borrow_from_texts() noexcept;

    std::string name_;
    std::string text_;
};

/// Whether a thread's mdc may have something: a message then takes it along.
[[nodiscard]] bool may_have_context() noexcept;

using std::make_unique;

/// What programs use of spdlog's own door to the system.
namespace os {

inline constexpr const char* default_eol = "\n";

/// The kernel's number of this thread.
[[nodiscard]] std::size_t thread_id() noexcept;
[[nodiscard]] int pid() noexcept;
[[nodiscard]] bool path_exists(const filename_t& path) noexcept;

/// With those above it; false where one could not be made.
bool create_dir(const filename_t& path);
void sleep_for_millis(unsigned milliseconds) noexcept;

} // namespace os

struct null_mutex {
    void lock() const noexcept {}

    void unlock() const noexcept {}
};

/// For names of sinks; there are no locks around terminals here.
struct console_mutex {
    using mutex_t = std::mutex;
};

struct console_nullmutex {
    using mutex_t = null_mutex;
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

namespace details {

/// Widths are not for a program's own flags here: it is always none.
struct padding_info {
    [[nodiscard]] bool enabled() const noexcept { return enabled_; }

    std::size_t width_ = 0;
    bool truncate_ = false;
    bool enabled_ = false;
};

} // namespace details

/// A flag of a program's own. For sapwood's sinks it is called on the thread that writes the log,
/// and what it gives is escaped; padding is not for it.
class custom_flag_formatter {
  public:
    virtual ~custom_flag_formatter() = default;
    virtual void format(const details::log_msg& message, const std::tm& time, memory_buf_t& to) = 0;
    [[nodiscard]] virtual std::unique_ptr<custom_flag_formatter> clone() const = 0;

    void set_padding_info(const details::padding_info& info) { padinfo_ = info; }

  protected:
    details::padding_info padinfo_;
};

using custom_flags = std::map<char, std::unique_ptr<custom_flag_formatter>>;

/// spdlog's patterns with text_layout's flags, `%+`, `%&` and a program's own. Throws spdlog_ex
/// that names a flag that it does not know. The message is escaped: a record is one line.
class pattern_formatter final : public formatter {
  public:
    using custom_flags = spdlog_compat::custom_flags;

    /// `eol` is behind each line that format() makes; the lines of sapwood's sinks end in a
    /// newline.
    explicit pattern_formatter(std::string pattern,
                               pattern_time_type zone = pattern_time_type::local,
                               std::string eol = "\n", custom_flags flags = {});

    explicit pattern_formatter(pattern_time_type zone = pattern_time_type::local,
                               std::string eol = "\n")
        : pattern_formatter("%+", zone, std::move(eol)) {}

    pattern_formatter(const pattern_formatter&) = delete;
    pattern_formatter& operator=(const pattern_formatter&) = delete;
    ~pattern_formatter() override;

    void format(const details::log_msg& message, memory_buf_t& to) override;
    [[nodiscard]] std::unique_ptr<formatter> clone() const override;

    /// `flag` means a T from the next set_pattern on.
    template <class T, class... Args>
    pattern_formatter& add_flag(char flag, Args&&... args) {
        flags_[flag] = std::make_unique<T>(std::forward<Args>(args)...);
        return *this;
    }

    void set_pattern(std::string pattern);

    void need_localtime(bool = true) noexcept {}

    [[nodiscard]] const std::string& pattern() const noexcept { return pattern_; }

    [[nodiscard]] pattern_time_type zone() const noexcept { return zone_; }

    [[nodiscard]] const custom_flags& flags() const noexcept { return flags_; }

  private:
    static constexpr std::size_t names_max = 256;

    [[nodiscard]] std::uint16_t number_of_name(std::string_view name);
    void make_layout();

    std::string pattern_;
    pattern_time_type zone_;
    std::string eol_;
    custom_flags flags_;
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
