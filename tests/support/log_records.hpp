// Log records for tests of forms and outputs, without a logger.
#pragma once

#include <sapwood/log_record.hpp>
#include <sapwood/log_sink.hpp>
#include <sapwood/log_write.hpp>

#include <chrono>
#include <cstdint>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::test {

/// A point in time by its nanoseconds since 1970.
inline log_record::time_point at_ns(std::int64_t ns) {
    return log_record::time_point(std::chrono::nanoseconds(ns));
}

/// 2026-11-21 22:39:56.123456789 UTC.
inline constexpr std::int64_t some_ns = 1'795'300'796'123'456'789;

/// What a record borrows.
struct owned_record {
    std::string message = "message";
    level importance = level::info;
    std::string logger = {};
    std::string fields = {};
    std::int64_t ns = some_ns;
    bool is_truncated = false;
    std::uint16_t logger_id = 1;
    log_thread thread = {.id = 1234, .ordinal = 1, .name = "worker"};
    std::uint64_t sequence = 7;

    template <class... T>
    owned_record& with(const log_field<T>&... each) {
        (detail::append_field(fields, detail::field_text(each)), ...);
        return *this;
    }

    owned_record& with(detail::log_field_kind kind, std::string_view value) {
        detail::append_field(fields,
                             detail::log_field_text("", kind, detail::log_view_text(value)));
        return *this;
    }

    log_record view() const {
        return {.when = at_ns(ns),
                .importance = importance,
                .is_known_plain = false,
                .is_truncated = is_truncated,
                .message = message,
                .logger = logger,
                .logger_id = logger_id,
                .thread = thread,
                .sequence = sequence,
                .fields = fields};
    }
};

inline std::string line_of(log_layout& form, const owned_record& record) {
    log_buffer to(256);
    form.append(record.view(), to);
    return std::string(to.text());
}

inline std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
        lines.push_back(line);
    }
    return lines;
}

inline task<> write_text(log_sink& sink, std::string_view text) {
    return sink.write(std::span(text.data(), text.size()));
}

} // namespace sapwood::test
