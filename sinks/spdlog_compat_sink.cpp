#include <sapwood/spdlog_compat_sink.hpp>

#include "spdlog_compat_layout.hpp"

#include <sapwood/log_foreign.hpp>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <sys/syscall.h>
#include <system_error>
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

namespace details {

namespace {

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

foreign_record record_of(const log_msg& message) noexcept {
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
    };
}

// --- patterns ---

pattern_layout::pattern_layout(std::string pattern, pattern_time_type zone, bool colour)
    : pattern_(std::move(pattern)),
      zone_(zone),
      colour_(colour) {
    form_for(true, true); // so that a pattern that is wrong is refused here
}

/// `%+` holds the logger's name and the place where there are such; a place of which nothing is
/// known leaves nothing behind in other patterns, too.
text_layout& pattern_layout::form_for(bool has_name, bool has_place) {
    auto& form = forms_[(has_name ? 1U : 0U) + (has_place ? 2U : 0U)];
    if (form == nullptr) {
        std::string pattern;
        for (std::size_t i = 0; i < pattern_.size(); ++i) {
            const char flag = pattern_[i] == '%' && i + 1 < pattern_.size() ? pattern_[i + 1] : 0;
            if (flag == '+') {
                pattern += "[%Y-%m-%d %H:%M:%S.%e] ";
                pattern += has_name ? "[%n] " : "";
                pattern += "[%^%l%$] ";
                pattern += has_place ? "[%s:%#] %v" : "%v";
            } else if (flag == '@') {
                pattern += has_place ? "%g:%#" : "";
            } else if (flag != 0) {
                pattern += pattern_.substr(i, 2);
            } else {
                pattern += pattern_[i];
                continue;
            }
            ++i;
        }
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
    bool has_place = false;
    sapwood::detail::for_each_field(record.fields, [&](const auto& field) {
        has_place = has_place || field.kind == sapwood::detail::log_field_kind::location;
    });
    form_for(!record.logger.empty(), has_place).append(record, to);
}

} // namespace details

pattern_formatter::pattern_formatter(std::string pattern, pattern_time_type zone, bool colour)
    : pattern_(std::move(pattern)),
      zone_(zone),
      colour_(colour),
      layout_(std::make_unique<details::pattern_layout>(pattern_, zone, colour)) {}

pattern_formatter::~pattern_formatter() = default;

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
    to.append(line_.text().data(), line_.text().data() + line_.size());
}

std::uint16_t pattern_formatter::number_of_name(std::string_view name) {
    const auto found = std::find(names_.begin(), names_.end(), name);
    if (found != names_.end()) {
        return static_cast<std::uint16_t>(found - names_.begin());
    }
    if (names_.size() == names_max) { // a layout that has seen none of them begins anew
        names_.clear();
        layout_ = std::make_unique<details::pattern_layout>(pattern_, zone_, colour_);
    }
    names_.emplace_back(name);
    return static_cast<std::uint16_t>(names_.size() - 1);
}

std::unique_ptr<formatter> pattern_formatter::clone() const {
    return std::make_unique<pattern_formatter>(pattern_, zone_, colour_);
}

} // namespace sapwood::spdlog_compat
