#include <sapwood/spdlog_compat_sink.hpp>

#include "spdlog_compat_layout.hpp"

#include <sapwood/log_escape.hpp>
#include <sapwood/log_foreign.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <sys/syscall.h>
#include <system_error>
#include <thread>
#include <unistd.h>

namespace sapwood::spdlog_compat {

namespace level {

namespace {

constexpr std::array<string_view_t, 7> names{"trace", "debug",    "info", "warning",
                                             "error", "critical", "off"};
constexpr std::array<const char*, 7> short_names{"T", "D", "I", "W", "E", "C", "O"};

} // namespace

string_view_t to_string_view(level_enum value) noexcept {
    return names[static_cast<std::size_t>(value) % names.size()];
}

const char* to_short_c_str(level_enum value) noexcept {
    return short_names[static_cast<std::size_t>(value) % short_names.size()];
}

level_enum from_str(const std::string& name) noexcept {
    const auto parsed = parse_level(name);
    return parsed ? static_cast<level_enum>(*parsed) : off;
}

} // namespace level

spdlog_ex::spdlog_ex(const std::string& message, int error_number)
    : spdlog_ex(message + ": " + std::generic_category().message(error_number)) {}

void throw_spdlog_ex(const std::string& message, int error_number) {
    throw spdlog_ex(message, error_number);
}

void throw_spdlog_ex(std::string message) {
    throw spdlog_ex(std::move(message));
}

// --- what a thread is at ---

namespace {

std::atomic<bool> is_context_used{false};

} // namespace

std::map<std::string, std::string>& mdc::get_context() {
    static thread_local std::map<std::string, std::string> context;
    is_context_used.store(true, std::memory_order_relaxed);
    return context;
}

std::string mdc::get(const std::string& key) {
    const auto& context = get_context();
    const auto found = context.find(key);
    return found != context.end() ? found->second : std::string();
}

bool details::may_have_context() noexcept {
    return is_context_used.load(std::memory_order_relaxed) && !mdc::get_context().empty();
}

namespace details {

namespace {

/// `key:value key:value`; good until this thread asks again.
std::string_view context_of_thread() {
    static thread_local std::string text;
    text.clear();
    if (may_have_context()) {
        for (const auto& [key, value] : mdc::get_context()) {
            text += (text.empty() ? "" : " ") + key + ":" + value;
        }
    }
    return text;
}

std::uint32_t number_of_thread() noexcept {
    static thread_local const auto number = static_cast<std::uint32_t>(::syscall(SYS_gettid));
    return number;
}

} // namespace

log_msg::log_msg(log_clock::time_point when, source_loc where, string_view_t from,
                 level::level_enum importance, string_view_t text) noexcept
    : logger_name(from),
      level(importance),
      time(when == log_clock::time_point() ? log_clock::now() : when),
      thread_id(number_of_thread()),
      source(where),
      payload(text) {}

sapwood::level to_level(level::level_enum value) noexcept {
    return value >= level::critical ? sapwood::level::critical
           : value <= level::trace  ? sapwood::level::trace
                                    : static_cast<sapwood::level>(value);
}

std::size_t os::thread_id() noexcept {
    return number_of_thread();
}

int os::pid() noexcept {
    return ::getpid();
}

bool os::path_exists(const filename_t& path) noexcept {
    std::error_code error;
    return std::filesystem::exists(path, error);
}

bool os::create_dir(const filename_t& path) {
    std::error_code error;
    std::filesystem::create_directories(path, error);
    return std::filesystem::is_directory(path, error);
}

void os::sleep_for_millis(unsigned milliseconds) noexcept {
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

log_msg_buffer::log_msg_buffer(const log_msg& message)
    : log_msg(message),
      name_(message.logger_name.data(), message.logger_name.size()),
      text_(message.payload.data(), message.payload.size()) {
    borrow_from_texts();
}

log_msg_buffer& log_msg_buffer::operator=(const log_msg_buffer& other) {
    if (this != &other) {
        static_cast<log_msg&>(*this) = other;
        name_ = other.name_;
        text_ = other.text_;
        borrow_from_texts();
    }
    return *this;
}

void log_msg_buffer::borrow_from_texts() noexcept {
    logger_name = {name_.data(), name_.size()};
    payload = {text_.data(), text_.size()};
}

foreign_record record_of(const log_msg& message) {
    const auto text_of = [](const char* text) {
        return text != nullptr ? std::string_view(text) : std::string_view();
    };
    const bool has_place = !message.source.empty();
    return {
        .importance = to_level(message.level),
        .message = {message.payload.data(), message.payload.size()},
        .when = wall_clock::time_point(
            std::chrono::duration_cast<wall_clock::duration>(message.time.time_since_epoch())),
        .thread = static_cast<std::uint32_t>(message.thread_id),
        .file = has_place ? text_of(message.source.filename) : std::string_view(),
        .line = message.source.line,
        .function = has_place ? text_of(message.source.funcname) : std::string_view(),
        .task = context_of_thread(),
    };
}

// --- patterns ---

namespace {

/// Stands in a line before a program's own flag, until that is known. Escaped text has none.
constexpr char flag_mark = '\1';

/// And sapwood's N, k and q.
constexpr std::string_view spdlog_flags = "nlLtvaAbBhcCYDxmdHIMSefFEprRTXzP^$s#!%uioOgNkq";

bool is_one_of(char c, std::string_view these) noexcept {
    return these.find(c) != these.npos;
}

/// spdlog pads to 64 at most.
std::string width_of(const std::string& digits) {
    return digits.size() > 2 || std::stoi(digits) > 64 ? "64" : digits;
}

} // namespace

custom_flags clone_of(const custom_flags& flags) {
    custom_flags clones;
    for (const auto& [flag, form] : flags) {
        clones[flag] = form->clone();
    }
    return clones;
}

pattern_layout::pattern_layout(std::string pattern, pattern_time_type zone, bool colour,
                               custom_flags flags)
    : pattern_(std::move(pattern)),
      zone_(zone),
      colour_(colour),
      flags_(std::move(flags)) {
    form_for({true, true, true}); // so that a pattern that is wrong is refused here
}

/// `%+` holds the logger's name, the place and the context where there are such; a place of which
/// nothing is known leaves nothing behind in other patterns, too. What is no flag stands as it is.
std::string pattern_layout::plain_pattern(shown what) const {
    constexpr std::string_view digits = "0123456789";
    std::string plain;
    for (std::size_t i = 0; i < pattern_.size(); ++i) {
        if (pattern_[i] != '%') {
            plain += pattern_[i];
            continue;
        }
        // `%-8!l`: a side, a width and whether it cuts, of which each may be missing.
        const std::size_t side =
            i + 1 < pattern_.size() && is_one_of(pattern_[i + 1], "-=") ? 1 : 0;
        const std::size_t width_end =
            std::min(pattern_.find_first_not_of(digits, i + 1 + side), pattern_.size());
        const std::string width = pattern_.substr(i + 1 + side, width_end - (i + 1 + side));
        const bool cuts = !width.empty() && width_end + 1 < pattern_.size() &&
                          pattern_[width_end] == '!' && pattern_[width_end + 1] != ' ';
        const std::size_t flag_at = width_end + (cuts ? 1 : 0);
        if (flag_at >= pattern_.size()) { // the pattern ends within it
            break;
        }
        std::string padding;
        if (!width.empty()) {
            padding = pattern_.substr(i + 1, side) + width_of(width) + (cuts ? "!" : "");
        }
        append_flag(pattern_[flag_at], padding, what, plain);
        i = flag_at;
    }
    return plain;
}

void pattern_layout::append_flag(char flag, const std::string& padding, shown what,
                                 std::string& to) const {
    if (flags_.contains(flag)) {
        to += {flag_mark, flag};
    } else if (flag == '+') {
        to += "[%Y-%m-%d %H:%M:%S.%e] ";
        to += what.name ? "[%n] " : "";
        to += "[%^%l%$] ";
        to += what.place ? "[%s:%#] " : "";
        to += what.context ? "[%k] %v" : "%v";
    } else if (flag == '&') {
        to += "%" + padding + "k";
    } else if (flag == '@') {
        to += what.place ? "%g:%#" : "";
    } else if (is_one_of(flag, spdlog_flags)) {
        to += "%" + padding + flag;
    } else {
        to += std::string("%%") + flag;
    }
}

text_layout& pattern_layout::form_for(shown what) {
    auto& form = forms_[(what.name ? 1U : 0U) + (what.place ? 2U : 0U) + (what.context ? 4U : 0U)];
    if (form == nullptr) {
        const std::string pattern = plain_pattern(what);
        try {
            form = std::make_unique<text_layout>(text_layout_options{
                .pattern = pattern,
                .zone = zone_ == pattern_time_type::utc ? log_time_zone::utc : log_time_zone::local,
                .colour = colour_});
        } catch (const std::invalid_argument& error) {
            throw spdlog_ex(error.what());
        }
    }
    return *form;
}

void pattern_layout::append(const log_record& record, log_buffer& to) {
    using kind = sapwood::detail::log_field_kind;
    shown what{!record.logger.empty(), false, false};
    sapwood::detail::for_each_field(record.fields, [&](const auto& field) {
        what.place = what.place || field.kind == kind::location;
        what.context = what.context || field.kind == kind::task;
    });
    const std::size_t begin = to.size();
    form_for(what).append(record, to);
    if (!flags_.empty()) {
        expand_flags(begin, record, to);
    }
}

/// Puts what the program's own flags say into the line that begins there.
void pattern_layout::expand_flags(std::size_t begin, const log_record& record, log_buffer& to) {
    const std::string line(to.text().substr(begin));
    std::string file;
    std::string function;
    source_loc where;
    sapwood::detail::for_each_field(record.fields, [&](const auto& field) {
        if (field.kind == sapwood::detail::log_field_kind::location) {
            const auto colon = std::min(field.value.rfind(':'), field.value.size());
            file = field.value.substr(0, colon);
            where.line = std::atoi(std::string(field.value.substr(colon)).c_str() + 1);
        } else if (field.kind == sapwood::detail::log_field_kind::function) {
            function = field.value;
        }
    });
    where.filename = file.c_str();
    where.funcname = function.c_str();
    log_msg message(log_clock::time_point(std::chrono::duration_cast<log_clock::duration>(
                        record.when.time_since_epoch())),
                    where, {record.logger.data(), record.logger.size()},
                    static_cast<level::level_enum>(record.importance),
                    {record.message.data(), record.message.size()});
    message.thread_id = record.thread.id;
    const std::time_t second = log_clock::to_time_t(message.time);
    std::tm time{};
    (void)(zone_ == pattern_time_type::utc ? ::gmtime_r(&second, &time)
                                           : ::localtime_r(&second, &time));
    to.cut(begin);
    std::string_view rest = line;
    while (true) {
        const auto mark = rest.find(flag_mark);
        if (mark == rest.npos || mark + 1 == rest.size()) {
            break;
        }
        to.append(rest.substr(0, mark));
        const auto found = flags_.find(rest[mark + 1]);
        if (found != flags_.end()) {
            memory_buf_t text;
            found->second->format(message, time, text);
            sapwood::detail::append_escaped({text.data(), text.size()}, to);
        }
        rest.remove_prefix(mark + 2);
    }
    to.append(rest);
}

} // namespace details

pattern_formatter::pattern_formatter(std::string pattern, pattern_time_type zone, std::string eol,
                                     custom_flags flags)
    : pattern_(std::move(pattern)),
      zone_(zone),
      eol_(std::move(eol)),
      flags_(std::move(flags)) {
    make_layout();
}

pattern_formatter::~pattern_formatter() = default;

void pattern_formatter::make_layout() {
    layout_ = std::make_unique<details::pattern_layout>(pattern_, zone_, false,
                                                        details::clone_of(flags_));
}

void pattern_formatter::set_pattern(std::string pattern) {
    pattern_ = std::move(pattern);
    make_layout();
}

void pattern_formatter::format(const details::log_msg& message, memory_buf_t& to) {
    const detail::foreign_record record = details::record_of(message);
    const std::string fields = detail::foreign_fields(record);
    const log_thread thread = detail::log_origin{.thread = record.thread}.as_thread();
    line_.cut(0);
    layout_->append(
        {.when = record.when,
         .importance = record.importance,
         .is_known_plain = false,
         .is_truncated = false,
         .message = record.message,
         .logger = {message.logger_name.data(), message.logger_name.size()},
         // A name's number is what a layout knows it by.
         .logger_id = number_of_name({message.logger_name.data(), message.logger_name.size()}),
         .thread = thread,
         .sequence = 0,
         .fields = fields},
        line_);
    const std::string_view line = line_.text().substr(0, line_.size() - 1); // ends in a newline
    to.append(line.data(), line.data() + line.size());
    to.append(eol_.data(), eol_.data() + eol_.size());
}

std::uint16_t pattern_formatter::number_of_name(std::string_view name) {
    const auto found = std::find(names_.begin(), names_.end(), name);
    if (found != names_.end()) {
        return static_cast<std::uint16_t>(found - names_.begin());
    }
    if (names_.size() == names_max) { // a layout that has seen none of them begins anew
        names_.clear();
        make_layout();
    }
    names_.emplace_back(name);
    return static_cast<std::uint16_t>(names_.size() - 1);
}

std::unique_ptr<formatter> pattern_formatter::clone() const {
    return std::make_unique<pattern_formatter>(pattern_, zone_, eol_, details::clone_of(flags_));
}

} // namespace sapwood::spdlog_compat
